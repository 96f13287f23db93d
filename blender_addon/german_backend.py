# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said about the backend, its preferences and how things stand, in German."""

from collections.abc import Mapping

BACKEND: Mapping[str, str] = {
    # backend
    "Set Up Backend": "Backend einrichten",
    "Make a private Python environment in the add-on's folder and fetch the backend's packages "
    "into it, with the torch build for this machine": "Im Ordner des Add-ons eine eigene "
    "Python-Umgebung anlegen und die Pakete des Backends hineinholen, mit dem passenden torch für "
    "diesen Rechner",
    "Allow Online Access in the preferences first": "Erst in den Einstellungen den Online-Zugriff "
    "erlauben",
    "Its packages come over the network, which Blender does not allow yet": "Seine Pakete kommen "
    "über das Netz, was Blender noch nicht erlaubt",
    "Cancel Set Up": "Einrichten abbrechen",
    "Stop, and remove what is not whole; downloads are kept for the next attempt": "Anhalten und "
    "Unfertiges entfernen; Geladenes bleibt für den nächsten Versuch",
    "Remove Backend": "Backend entfernen",
    "Stop the backend and delete its private environment with all downloads; jobs and their files "
    "stay": "Das Backend anhalten und seine eigene Umgebung mit allem Geladenen löschen; Aufträge "
    "und ihre Dateien bleiben",
    "Its packages would have to be fetched again": "Seine Pakete müssten neu geholt werden",
    "The backend is being set up: cancel that first": "Das Backend wird eingerichtet: "
    "erst abbrechen",
    "The backend is being removed: wait a moment": "Das Backend wird entfernt: einen Moment warten",
    "Start": "Starten",
    "Start the backend, if it is this machine's, and connect to it": "Das Backend starten, wenn es "
    "das dieses Rechners ist, und sich damit verbinden",
    "Restart": "Neu starten",
    "Stop the backend if it is there, and start it anew; jobs go on": "Das Backend anhalten, falls "
    "es da ist, und neu starten; Aufträge gehen weiter",
    "Stop": "Anhalten",
    "Disconnect": "Trennen",
    "Let this machine's backend write its checkpoint and end, or leave another machine's; jobs go "
    "on when it starts again": "Das Backend dieses Rechners seinen Zwischenstand schreiben und "
    "enden lassen oder das eines anderen verlassen; Aufträge gehen nach dem Neustart weiter",
    "The backend is not running": "Das Backend läuft nicht",
    "Free Memory": "Speicher freigeben",
    "Give the device's memory back, for rendering; the next job takes it again": "Den Speicher des "
    "Geräts fürs Rendern freigeben; der nächste Auftrag nimmt ihn wieder",
    "A job is running: wait for it or cancel it": "Ein Auftrag läuft: abwarten oder abbrechen",
    "Open Log": "Protokoll öffnen",
    "Show what the backend, or its set-up, has written": "Zeigen, was das Backend oder seine "
    "Einrichtung geschrieben hat",
    "There is no log on this machine yet": "Auf diesem Rechner gibt es noch kein Protokoll",
    "Connect": "Verbinden",
    "Preferences": "Voreinstellungen",
    "Choose another backend in the preferences": "In den Voreinstellungen ein anderes Backend "
    "wählen",
    "Allow Online Access": "Online-Zugriff erlauben",
    "Open Blender's preference, so that the backend's packages may be fetched": "Blenders "
    "Voreinstellung öffnen, damit die Pakete des Backends geholt werden dürfen",
    "Open Folder": "Ordner öffnen",
    "Show the folder in which the add-on keeps everything": "Den Ordner zeigen, in dem das Add-on "
    "alles ablegt",
    "Copy This Machine's Key": "Schlüssel dieses Rechners kopieren",
    "For the other machine: geneman serve --authorize KEY lets this Blender in": "Für den anderen "
    "Rechner: geneman serve --authorize SCHLÜSSEL lässt dieses Blender ein",
    "Copied this machine's public key": "Öffentlicher Schlüssel dieses Rechners kopiert",
    "Update Add-on": "Add-on aktualisieren",
    "Open Blender's extensions, where a newer GeneMAN can be installed": "Blenders Erweiterungen "
    "öffnen, wo ein neueres GeneMAN installiert werden kann",
    "{free} of {total} GiB free": "{free} von {total} GiB frei",
    # preferences
    "Where people are reconstructed": "Wo Personen rekonstruiert werden",
    "This Machine": "Dieser Rechner",
    "In a private environment that Set Up Backend makes": "In einer eigenen Umgebung, die „Backend "
    "einrichten“ anlegt",
    "Existing Environment": "Vorhandene Umgebung",
    "With a Python environment that has GeneMAN": "Mit einer Python-Umgebung, die GeneMAN hat",
    "Another Machine": "Anderer Rechner",
    "With a backend that runs elsewhere": "Mit einem Backend, das anderswo läuft",
    "Environment": "Umgebung",
    "Folder of a Python environment in which GeneMAN is installed": "Ordner einer "
    "Python-Umgebung, in der GeneMAN installiert ist",
    "Address": "Adresse",
    "Of the other machine, as in render7:5600": "Des anderen Rechners, wie in render7:5600",
    "Server Key": "Schlüssel des Servers",
    "The 40 characters that geneman serve prints over there": "Die 40 Zeichen, die geneman serve "
    "dort ausgibt",
    "Device": "Gerät",
    "What computes": "Was rechnet",
    "Automatic": "Automatisch",
    "The graphics card if it can, else the processor": "Die Grafikkarte, wenn sie kann, sonst der "
    "Prozessor",
    "Graphics Card": "Grafikkarte",
    "An NVIDIA graphics card": "Eine NVIDIA-Grafikkarte",
    "Processor": "Prozessor",
    "The processor": "Der Prozessor",
    "Start with the Panel": "Mit dem Panel starten",
    "Start the backend as soon as its panel is seen, so that it is ready": "Das Backend starten, "
    "sobald sein Panel zu sehen ist, damit es bereit ist",
    "Keep Running after Blender": "Nach Blender weiterlaufen",
    "Let jobs go on when Blender is closed; the next Blender finds them again": "Aufträge "
    "weiterlaufen lassen, wenn Blender beendet wird; das nächste findet sie wieder",
    # how things stand
    "{} s": "{} s",
    "{} min": "{} min",
    "{} h {} min": "{} h {} min",
    "{}, {} left": "{}, noch {}",
    "{} on {}": "{} auf {}",
    "Starts": "Beginnt",
    "Stops": "Hält an",
    "Cancelled": "Abgebrochen",
    "Done in {}": "Fertig in {}",
    "Waits, next in line": "Wartet, als Nächster dran",
    "Waits, {} before it": "Wartet, {} davor",
    "Its worker died; it goes on from its last checkpoint": "Sein Prozess starb; es geht vom "
    "letzten Zwischenstand weiter",
    "Not connected": "Nicht verbunden",
    "Connecting to the backend": "Verbindet sich mit dem Backend",
    "Connecting to the backend again": "Verbindet sich wieder mit dem Backend",
    "Ready": "Bereit",
    "Ready: {}": "Bereit: {}",
    "The backend is not installed": "Das Backend ist nicht eingerichtet",
    "The backend is stopped": "Das Backend ist angehalten",
    "The backend starts": "Das Backend startet",
    "The backend starts again": "Das Backend startet neu",
    "The backend's worker starts": "Der Rechenprozess des Backends startet",
    "The backend compiles kernels, {} of {}": "Das Backend übersetzt Rechenkerne, {} von {}",
    "The backend stops; jobs go on at its next start": "Das Backend hält an; Aufträge gehen beim "
    "nächsten Start weiter",
    "The backend writes its checkpoint and stops": "Das Backend schreibt seinen Zwischenstand und "
    "hält an",
    "Setting up the backend: {} ({})": "Das Backend wird eingerichtet: {} ({})",
    "Looking at disk and package": "Platte und Paket prüfen",
    "Fetching the installer": "Installationsprogramm holen",
    "Making the environment": "Umgebung anlegen",
    "Resolving packages": "Pakete auflösen",
    "Fetching the models that find a person": "Modelle holen, die eine Person finden",
    "Compiling kernels (once)": "Rechenkerne übersetzen (einmalig)",
    "Looking whether it starts": "Sehen, ob es startet",
}
