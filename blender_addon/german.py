# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel says, in German; about the backend in `german_backend.py`."""

from collections.abc import Mapping

PANELS: Mapping[str, str] = {
    # panels
    "Photo": "Foto",
    "Mask": "Maske",
    "Backend": "Backend",
    "Reconstruct": "Rekonstruieren",
    "Settings": "Einstellungen",
    "Stages": "Schritte",
    "Result": "Ergebnis",
    "Edit and Go On": "Bearbeiten und fortfahren",
    "Export": "Exportieren",
    "Jobs": "Aufträge",
    "Weights and Schedules": "Gewichte und Verläufe",
    # stages and modes
    "Prepare": "Vorbereiten",
    "NeRF": "NeRF",
    "Sculpt": "Skulptur",
    "Latent Texture": "Latente Textur",
    "Pixel Texture": "Pixeltextur",
    "Finish": "Fertigstellen",
    "Edit Mode": "Editiermodus",
    "Sculpt Mode": "Skulpturmodus",
    "Texture Paint": "Texturmalen",
    "Vertex Paint": "Vertexmalen",
    "Weight Paint": "Gewichtmalen",
    # photo
    "Choose Photo": "Foto wählen",
    "Choose the picture of a person to reconstruct": "Das Bild der Person wählen, die entstehen "
    "soll",
    "Use as GeneMAN's Photo": "Als Foto für GeneMAN nehmen",
    "Reconstruct the person on the picture that was dropped": "Die Person auf dem abgelegten Bild "
    "rekonstruieren",
    "Paste Photo": "Foto einfügen",
    "Take the picture, or the picture file, that was copied to the clipboard": "Das Bild oder die "
    "Bilddatei aus der Zwischenablage nehmen",
    "Photo of a Person for GeneMAN": "Foto einer Person für GeneMAN",
    "Picture of one person: png, jpeg, webp or heic": "Bild einer Person: png, jpeg, webp oder "
    "heic",
    "Choose a photo of one person, or drop it onto the viewport": "Ein Foto einer Person wählen "
    "oder auf die Ansicht ziehen",
    "Choose a photo first": "Erst ein Foto wählen",
    "The photo is not there any more": "Das Foto ist nicht mehr da",
    "The photo is not there any more: {path}": "Das Foto ist nicht mehr da: {path}",
    "Blender cannot show this kind of picture; the backend can read it": "Blender kann diese Art "
    "Bild nicht zeigen; das Backend kann sie lesen",
    "There is no picture in the clipboard, nor the path of one": "In der Zwischenablage ist weder "
    "ein Bild noch der Pfad zu einem",
    "A photo must be a png, jpeg, webp or heic file, but got '{name}': save the picture as one of "
    "these": "Ein Foto muss eine png-, jpeg-, webp- oder heic-Datei sein, aber es ist „{name}“: "
    "das Bild als eine davon speichern",
    "The photo must be a picture that Blender can read, but got '{path}': choose a png, jpeg or "
    "webp": "Das Foto muss ein Bild sein, das Blender lesen kann, aber es ist „{path}“: ein png, "
    "jpeg oder webp wählen",
    # mask
    "The mask must be of the photo's {size} pixels, but has {has}: run Prepare again": "Die Maske "
    "muss {size} Pixel haben wie das Foto, hat aber {has}: „Vorbereiten“ neu rechnen",
    "A mask must leave something of the person: add to it before you use it": "Eine Maske muss "
    "etwas von der Person übrig lassen: erst etwas hinzufügen",
    "White is the person, black is everything else": "Weiß ist die Person, schwarz alles andere",
    "Paint Mask": "Maske malen",
    "Go On Painting": "Weiter malen",
    "Paint by hand which part of the photo is the person": "Von Hand malen, welcher Teil des Fotos "
    "die Person ist",
    "Forget Painted Mask": "Gemalte Maske verwerfen",
    "Let the backend find the person again": "Das Backend die Person wieder selbst finden lassen",
    "No mask has been painted": "Es wurde keine Maske gemalt",
    "Paint the mask first": "Erst die Maske malen",
    "Mask Brush": "Maskenpinsel",
    "Add": "Hinzufügen",
    "Erase": "Wegnehmen",
    "Let the brush add to the person, or take from it": "Den Pinsel zur Person hinzufügen oder von "
    "ihr wegnehmen lassen",
    "Let the brush add to what counts as the person": "Den Pinsel zu dem hinzufügen lassen, was "
    "als Person gilt",
    "Let the brush take from what counts as the person": "Den Pinsel von dem wegnehmen lassen, was "
    "als Person gilt",
    "Choose a brush in the Image Editor first": "Erst einen Pinsel im Bildeditor wählen",
    "Re-run from Painted Mask": "Mit gemalter Maske neu rechnen",
    "Run all stages again, with the person where you painted it": "Alle Schritte neu rechnen, mit "
    "der Person dort, wo sie gemalt wurde",
    # the button
    "Reconstruct from Photo": "Aus Foto rekonstruieren",
    "Make a 3D person from the photo, and watch it grow in the viewport": "Aus dem Foto eine "
    "3D-Person machen und ihr in der Ansicht beim Entstehen zusehen",
    "Quality": "Qualität",
    "How much time to spend": "Wie viel Zeit aufgewendet wird",
    "This scene's person is being made: wait for it or cancel it": "Die Person dieser Szene "
    "entsteht gerade: abwarten oder abbrechen",
    "Waits for the backend": "Wartet auf das Backend",
    "Cancel": "Abbrechen",
    "Stop at the next step; what is finished stays, and Re-run goes on from there": "Beim nächsten "
    "Rechenschritt anhalten; Fertiges bleibt, und neu gerechnet wird von dort",
    "Copy Report": "Bericht kopieren",
    "Copy what went wrong, in full, with all versions, to paste it into a report": "Was "
    "schiefging, vollständig und mit allen Versionen kopieren, um es in einen Bericht einzufügen",
    "Copied the report": "Bericht kopiert",
    "Dismiss": "Ausblenden",
    "Put this message away": "Diese Meldung ausblenden",
    "The person was deleted from the scene": "Die Person wurde aus der Szene gelöscht",
    "A result waits until you leave {mode}": "Ein Ergebnis wartet, bis {mode} verlassen wird",
    "Use Quickest Settings": "Schnellste Einstellungen",
    "Choose the quickest quality, with its settings as they come": "Die schnellste Qualität "
    "wählen, mit ihren eigenen Einstellungen",
    # settings
    "Prompt": "Beschreibung",
    "What the photo shows, in words; empty lets the backend describe it": "Was das Foto zeigt, in "
    "Worten (englisch); leer beschreibt es das Backend selbst",
    "Seed": "Startwert",
    "The same photo, settings and seed give the same person": "Gleiches Foto, gleiche "
    "Einstellungen und gleicher Startwert ergeben dieselbe Person",
    "Each stage's settings come with the backend, once it is connected": "Die Einstellungen der "
    "Schritte kommen mit dem Backend, sobald es verbunden ist",
    "Over Time": "Verlauf",
    "How it changes over the steps": "Wie sich der Wert über die Rechenschritte ändert",
    "Constant": "Konstant",
    "The same value at every step": "Bei jedem Rechenschritt derselbe Wert",
    "Ramp": "Rampe",
    "Straight from one value to another, between two steps": "Geradlinig von einem Wert zum "
    "anderen, zwischen zwei Rechenschritten",
    "Switch": "Wechsel",
    "One value before a step, another from it on": "Vor einem Rechenschritt ein Wert, danach ein "
    "anderer",
    "To": "Auf",
    "Value afterwards": "Wert danach",
    "From Step": "Ab Rechenschritt",
    "Step at which it begins to change": "Rechenschritt, bei dem die Änderung beginnt",
    "Until Step": "Bis Rechenschritt",
    "Step at which the last value is reached": "Rechenschritt, bei dem der letzte Wert erreicht "
    "ist",
    # stages
    "Hide Live View": "Live-Ansicht ausblenden",
    "Do not show this stage's work while it runs; its result still comes": "Die Arbeit dieses "
    "Schritts nicht zeigen, während er läuft; sein Ergebnis kommt trotzdem",
    "Stale": "Veraltet",
    "Re-run": "Neu rechnen",
    "Run this stage and those after it again, with the settings as they are now": "Diesen Schritt "
    "und die folgenden neu rechnen, mit den jetzigen Einstellungen",
    "Run {stage} and the stages after it again, with the settings as they are now": "{stage} und "
    "die folgenden Schritte neu rechnen, mit den jetzigen Einstellungen",
    "Discard What Was Made by Hand": "Von Hand Gemachtes verwerfen",
    "Compute stages anew whose results were edited": "Schritte neu rechnen, deren Ergebnisse "
    "bearbeitet wurden",
    "Discard What You Made by Hand?": "Von Hand Gemachtes verwerfen?",
    "It would be computed again": "Es würde neu gerechnet",
    "Discard and Re-run": "Verwerfen und neu rechnen",
    "Inspect": "Ansehen",
    "Show this stage's result": "Das Ergebnis dieses Schritts zeigen",
    "Show the result of {stage} in the viewport": "Das Ergebnis von {stage} in der Ansicht zeigen",
    "Show the result of {stage} in an Image Editor": "Das Ergebnis von {stage} im Bildeditor "
    "zeigen",
    "The job must have ended: wait for it or cancel it": "Der Auftrag muss beendet sein: abwarten "
    "oder abbrechen",
    "Nothing has been reconstructed in this scene yet": "In dieser Szene wurde noch nichts "
    "rekonstruiert",
    "The backend is not running: start it first": "Das Backend läuft nicht: erst starten",
    # result
    "Match Photo Camera": "Kamera des Fotos",
    "Look at the person as the photo's camera did, with the photo behind; the scene's resolution "
    "becomes the photo's": "Die Person sehen wie die Kamera des Fotos, mit dem Foto dahinter; die "
    "Auflösung der Szene wird die des Fotos",
    "The mask has not been fetched: press Show in Scene": "Die Maske wurde noch nicht geholt: „In "
    "Szene zeigen“ drücken",
    "Add Turntable": "Drehteller hinzufügen",
    "Let a camera circle the person; play the animation to see it from all sides": "Eine Kamera "
    "um die Person kreisen lassen; beim Abspielen ist sie von allen Seiten zu sehen",
    "Frames": "Bilder",
    "Length of a full turn": "Länge einer vollen Drehung",
    "Keep a Copy Beside": "Kopie daneben stellen",
    "Put a copy of the person as it is now beside it, so that stages, or yours and the next "
    "result, can be compared": "Eine Kopie der Person, wie sie jetzt ist, daneben stellen, um "
    "Schritte oder Eigenes mit dem nächsten Ergebnis zu vergleichen",
    "Show Texture": "Textur zeigen",
    "Texture": "Textur",
    "Clay": "Ton",
    "Let this viewport show textures without lights": "In dieser Ansicht Texturen ohne Licht "
    "zeigen",
    "Let this viewport show the form in clay, without textures": "In dieser Ansicht die Form aus "
    "Ton zeigen, ohne Texturen",
    "Stages Side by Side": "Schritte nebeneinander",
    "Put what each finished stage made beside the person, to compare them": "Was jeder fertige "
    "Schritt gemacht hat, zum Vergleichen neben die Person stellen",
    "Only a 3D viewport can show it": "Das kann nur eine 3D-Ansicht zeigen",
    "There is no reconstructed person in this scene": "In dieser Szene gibt es keine "
    "rekonstruierte Person",
    "The camera cannot be matched: {error}": "Die Kamera lässt sich nicht angleichen: {error}",
    # edit
    "A mesh must have faces, but '{name}' has none: choose another": "Ein Netz muss Flächen haben, "
    "aber „{name}“ hat keine: ein anderes wählen",
    "An image must have pixels, but '{name}' has none: see whether its file is there": "Ein Bild "
    "muss Pixel haben, aber „{name}“ hat keine: nachsehen, ob seine Datei da ist",
    "Re-run Texture from Edited Mesh": "Textur vom bearbeiteten Netz neu rechnen",
    "Keep the mesh as you edited it, modifiers included, and texture it anew": "Das Netz lassen, "
    "wie es bearbeitet wurde, samt Modifikatoren, und neu texturieren",
    "The person is not in the scene: press Show in Scene": "Die Person ist nicht in der Szene: "
    "„In Szene zeigen“ drücken",
    "Keep Painted Texture": "Gemalte Textur behalten",
    "Use the texture as you painted it, in the finished person and its exports": "Die Textur "
    "verwenden, wie sie gemalt wurde, in der fertigen Person und ihren Exporten",
    "The person has no texture yet": "Die Person hat noch keine Textur",
    "Texture Selected Mesh from Photo": "Gewähltes Netz aus Foto texturieren",
    "Give the active mesh, upright and facing -Y, the looks of the person in the photo; its "
    "texture coordinates are kept if it has any": "Dem aktiven Netz, aufrecht und nach -Y "
    "blickend, das Aussehen der Person im Foto geben; vorhandene Texturkoordinaten bleiben",
    "Select a mesh first": "Erst ein Netz auswählen",
    "Leave the mesh's mode for Object Mode first": "Erst in den Objektmodus wechseln",
    "This is a reconstructed person: use Re-run Texture instead": "Das ist eine rekonstruierte "
    "Person: stattdessen ihre Textur neu rechnen",
    # export
    "Export glTF": "glTF exportieren",
    "Write the person with its texture as a .glb file, in metres, facing forward, with its feet "
    "at the origin": "Die Person mit ihrer Textur als .glb-Datei schreiben, in Metern, nach vorn "
    "blickend, mit den Füßen im Ursprung",
    "Switch to Object Mode first": "Erst in den Objektmodus wechseln",
    "The file could not be written: {error}": "Die Datei konnte nicht geschrieben werden: {error}",
    "Wrote {name}": "{name} geschrieben",
    # jobs
    "Job": "Auftrag",
    "The job that the buttons act on": "Der Auftrag, für den die Knöpfe gelten",
    "What you reconstruct is listed here, and can be recalled": "Was rekonstruiert wird, steht "
    "hier und kann zurückgeholt werden",
    "Choose a job in the list first": "Erst einen Auftrag in der Liste wählen",
    "Move Job": "Auftrag verschieben",
    "Let this job wait for a shorter or longer time": "Diesen Auftrag kürzer oder länger warten "
    "lassen",
    "Only a job that waits can be moved": "Nur ein wartender Auftrag kann verschoben werden",
    "Remove Job": "Auftrag entfernen",
    "Forget this job and delete its files in the backend; the scene keeps its own": "Diesen "
    "Auftrag vergessen und seine Dateien im Backend löschen; die Szene behält ihre",
    "Its files in the backend will be deleted": "Seine Dateien im Backend werden gelöscht",
    "Remove": "Entfernen",
    "Cancel the job first": "Erst den Auftrag abbrechen",
    "Remove Ended Jobs": "Beendete Aufträge entfernen",
    "Forget all jobs that have ended, but not this scene's, and delete their files": "Alle "
    "beendeten Aufträge vergessen, nur den dieser Szene nicht, und ihre Dateien löschen",
    "Their files in the backend will be deleted": "Ihre Dateien im Backend werden gelöscht",
    "Cancel Job": "Auftrag abbrechen",
    "Stop this job; what is finished stays": "Diesen Auftrag anhalten; Fertiges bleibt",
    "The job has ended already": "Der Auftrag ist schon beendet",
    "Show in Scene": "In Szene zeigen",
    "Bring this job's person into the scene, and let its further work be seen here": "Die Person "
    "dieses Auftrags in die Szene holen und seine weitere Arbeit hier zeigen",
    "Bring the person back into the scene, as its last finished stage made it": "Die Person "
    "zurück in die Szene holen, wie ihr letzter fertiger Schritt sie gemacht hat",
    "Nothing has been reconstructed here yet": "Hier wurde noch nichts rekonstruiert",
    "The backend does not have this person's job any more": "Das Backend hat den Auftrag dieser "
    "Person nicht mehr",
    "Recall Settings": "Einstellungen zurückholen",
    "Set photo, quality, settings, prompt and seed to those of this job": "Foto, Qualität, "
    "Einstellungen, Beschreibung und Startwert auf die dieses Auftrags setzen",
}
