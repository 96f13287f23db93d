# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between Blender and the backend, in German."""

from collections.abc import Mapping

TROUBLES: Mapping[str, str] = {
    # what stands within the sentences
    "this machine": "diesem Rechner",
    "photo": "Foto",
    "The environment": "Die Umgebung",
    "The packages": "Die Pakete",
    "Python's venv module": "Pythons Modul venv",
    "The person models": "Die Modelle für Personen",
    "Compiling the kernels": "Das Übersetzen der Kernels",
    # the connection
    "A backend's address must be a host and its first port, but got '{address}': as in "
    "render7:5600.": "Die Adresse eines Backends besteht aus Rechner und erstem Port, hier steht "
    "aber '{address}': etwa render7:5600.",
    "A backend's address must be one that can be reached, but '{host}' is not ({cause}): look at "
    "it in the preferences.": "Die Adresse eines Backends muss erreichbar sein, '{host}' ist es "
    "aber nicht ({cause}): in den Einstellungen nachsehen.",
    "A connection file must be readable and whole, but '{path}' is not ({cause}): start the "
    "backend anew, or fetch the file again.": "Eine Verbindungsdatei muss lesbar und vollständig "
    "sein, '{path}' ist es aber nicht ({cause}): das Backend neu starten oder die Datei noch "
    "einmal holen.",
    "A running backend must have written its connection file, but there is no '{path}': start the "
    "backend.": "Ein laufendes Backend schreibt seine Verbindungsdatei, '{path}' gibt es aber "
    "nicht: das Backend starten.",
    "A server's key must be 40 characters of Z85, but got '{key}': copy 'server_key' from "
    "connection.json over there.": "Der Schlüssel eines Servers besteht aus 40 Zeichen Z85, hier "
    "steht aber '{key}': 'server_key' aus der dortigen connection.json kopieren.",
    "Another machine is reached over the network, but Blender does not allow online access: allow "
    "it in Preferences > System > Network.": "Ein anderer Rechner ist nur über das Netz zu "
    "erreichen, Blender erlaubt aber keinen Online-Zugriff: unter Einstellungen > System > "
    "Netzwerk erlauben.",
    "This machine's key must be authorised by the backend on {place}, but it was refused: run "
    "`geneman serve --authorize '{key}'` there.": "Das Backend auf {place} muss den Schlüssel "
    "dieses Rechners zulassen, hat ihn aber abgewiesen: dort `geneman serve --authorize '{key}'` "
    "ausführen.",
    "This machine's keys must lie in a file of ours, but '{path}' cannot be used ({cause}): mend "
    "or delete it, and have the new key authorised over there.": "Die Schlüssel dieses Rechners "
    "liegen in einer eigenen Datei, '{path}' ist aber nicht zu gebrauchen ({cause}): reparieren "
    "oder löschen und den neuen Schlüssel drüben zulassen lassen.",
    "The backend on {place} must answer within {seconds} seconds, but it does not: start it anew "
    "if that goes on.": "Das Backend auf {place} muss binnen {seconds} Sekunden antworten, tut es "
    "aber nicht: neu starten, wenn das so bleibt.",
    "The backend on {place} must be running, but nobody listens there: start it.": "Das Backend "
    "auf {place} muss laufen, dort antwortet aber niemand: starten.",
    "The backend on {place} must have the key that we know, but whoever answers has another: copy "
    "its server key or connection file anew.": "Das Backend auf {place} muss den bekannten "
    "Schlüssel haben, wer dort antwortet, hat aber einen anderen: Serverschlüssel oder "
    "Verbindungsdatei neu kopieren.",
    "The backend on {place} must stay reachable, "
    "but the connection ended: it is tried again.": "Das Backend auf {place} muss erreichbar "
    "bleiben, die Verbindung brach aber ab: sie wird wieder versucht.",
    "Add-on and backend must speak the same protocol, but the backend on {place} speaks {theirs} "
    "and the add-on {ours}: update the add-on.": "Add-on und Backend müssen dasselbe Protokoll "
    "sprechen, das Backend auf {place} spricht aber {theirs} und das Add-on {ours}: das Add-on "
    "aktualisieren.",
    "Add-on and backend must speak the same protocol, but the backend on {place} speaks {theirs} "
    "and the add-on {ours}: update the backend.": "Add-on und Backend müssen dasselbe Protokoll "
    "sprechen, das Backend auf {place} spricht aber {theirs} und das Add-on {ours}: das Backend "
    "aktualisieren.",
    "The connection must not fail in ways we do not know, but it did ({kind}): report it; it is "
    "tried again.": "Die Verbindung scheiterte auf eine Weise, die wir nicht kennen ({kind}): "
    "bitte melden; sie wird wieder versucht.",
    "The connection was closed before this was answered.": "Die Verbindung wurde geschlossen, "
    "bevor das beantwortet war.",
    # orders and results
    "The backend must answer an order within {seconds} seconds, but it did not: try again.": "Das "
    "Backend muss einen Auftrag binnen {seconds} Sekunden beantworten, tat es aber nicht: noch "
    "einmal versuchen.",
    "A download must fit on this machine's disk, but '{name}' could not be written ({cause}): "
    "free some space, or choose another folder.": "Geladenes muss auf die Platte dieses Rechners "
    "passen, '{name}' ließ sich aber nicht schreiben ({cause}): Platz schaffen oder einen anderen "
    "Ordner wählen.",
    "The piece of a file must be one, but is not.": "Das Stück einer Datei muss eines sein, ist "
    "es aber nicht.",
    "A result must be readable, but it is not ({cause}).": "Ein Ergebnis muss lesbar sein, ist es "
    "aber nicht ({cause}).",
    "An order must be one that can be sent, but it is not ({cause}).": "Ein Auftrag muss sich "
    "senden lassen, tut es aber nicht ({cause}).",
    "At most {most} orders and {room} MB may be on their way, but this would make {count} and "
    "{size} MB: wait a moment.": "Höchstens {most} Aufträge und {room} MB dürfen unterwegs sein, "
    "dies wären aber {count} und {size} MB: einen Moment warten.",
    "Everything that is sent must be within its limits, but it is not ({cause}): look at the "
    "settings, the seed and the prompt.": "Alles Gesendete muss in seinen Grenzen bleiben, tut es "
    "aber nicht ({cause}): Einstellungen, Startwert und Beschreibung ansehen.",
    "GeneMAN itself made a mistake ({kind}: {cause}): please report it.": "GeneMAN selbst hat "
    "einen Fehler gemacht ({kind}: {cause}): bitte melden.",
    "A photo must be png, jpeg, webp or heic, but '{name}' is something else: save the picture as "
    "one of these, or choose another.": "Ein Foto muss png, jpeg, webp oder heic sein, '{name}' "
    "ist aber etwas anderes: das Bild so speichern oder ein anderes wählen.",
    "The {what} must be a file that can "
    "be read, but '{path}' cannot ({cause}): choose another.": "{what}: die Datei muss lesbar "
    "sein, '{path}' ist es aber nicht ({cause}): eine andere wählen.",
    "The {what} must have at most {most} MB, but '{name}' has {size}: save it smaller.": "{what}: "
    "höchstens {most} MB sind erlaubt, '{name}' hat aber {size}: kleiner speichern.",
    "The {what} must lie where it was chosen, but '{path}' is not there any more: put it back, or "
    "choose another.": "{what}: die Datei muss liegen, wo sie gewählt wurde, '{path}' ist aber "
    "nicht mehr da: zurücklegen oder eine andere wählen.",
    # setting up
    "Set Up Backend must fetch packages, but Blender does not allow online access: allow it in "
    "Preferences > System, or choose an existing environment.": "Das Einrichten holt Pakete, "
    "Blender erlaubt aber keinen Online-Zugriff: unter Einstellungen > System erlauben oder eine "
    "vorhandene Umgebung wählen.",
    "Set Up Backend must not fail in ways we do not know, but it did ({kind}): report it.": "Das "
    "Einrichten scheiterte auf eine Weise, die wir nicht kennen ({kind}): bitte melden.",
    "The add-on must hold the backend's wheel, "
    "but '{path}' is none: install the add-on again.": "Das Add-on muss das Wheel des Backends "
    "enthalten, '{path}' ist aber keines: das Add-on neu installieren.",
    "The backend's wheel must lie in the add-on, but this copy has none: install GeneMAN from its "
    "zip, or choose an existing environment in the preferences.": "Das Wheel des Backends muss im "
    "Add-on liegen, diese Kopie hat aber keines: GeneMAN aus dem Zip installieren oder in den "
    "Einstellungen eine vorhandene Umgebung wählen.",
    "The backend needs {needed:.1f} GB of free disk, but '{folder}' has {free:.1f} GB: free some "
    "space.": "Das Backend braucht {needed:.1f} GB freien Platz, '{folder}' hat aber {free:.1f} "
    "GB: Platz schaffen.",
    "{what} must be allowed to write here, but something forbids it ({cause}): look at the "
    "folder's permissions and the virus scanner.": "{what}: das Schreiben hier muss erlaubt sein, "
    "etwas verbietet es aber ({cause}): Rechte des Ordners und Virenscanner ansehen.",
    "{what} must be reachable, but the connection failed ({cause}): look at network, proxy and "
    "firewall, and try again; what was loaded is kept.": "{what}: die Gegenseite muss erreichbar "
    "sein, die Verbindung scheiterte aber ({cause}): Netz, Proxy und Firewall ansehen und noch "
    "einmal versuchen; Geladenes bleibt.",
    "{what} must be there for this system "
    "and Python, but is not ({cause}): see '{log}'.": "{what}: für dieses System und Python muss "
    "es das geben, es fehlt aber ({cause}): siehe '{log}'.",
    "{what} must fit on the disk, but it is full: free some space and try again.": "{what}: das "
    "muss auf die Platte passen, sie ist aber voll: Platz schaffen und noch einmal versuchen.",
    "{what} must go well, but did not ({cause}): see '{log}'.": "{what}: das ging nicht gut "
    "({cause}): siehe '{log}'.",
    "Files of the backend must not be in use while it is removed, but '{path}' is ({cause}): stop "
    "the backend and try again.": "Dateien des Backends dürfen beim Entfernen nicht in Gebrauch "
    "sein, '{path}' ist es aber ({cause}): das Backend anhalten und noch einmal versuchen.",
    # the environment
    "An existing environment must be its folder or its interpreter, but '{chosen}' has no Python "
    "in it: choose the folder that holds {folder}.": "Als vorhandene Umgebung zählt ihr Ordner "
    "oder ihr Interpreter, in '{chosen}' ist aber kein Python: den Ordner wählen, der {folder} "
    "enthält.",
    "The backend's Python must be startable, but '{python}' is not ({cause}): set the backend up "
    "again, or choose another environment.": "Das Python des Backends muss starten, '{python}' "
    "tut es aber nicht ({cause}): das Backend neu einrichten oder eine andere Umgebung wählen.",
    "The backend's environment must be whole, but '{python}' says '{words}': set the backend up "
    "again, or choose another environment.": "Die Umgebung des Backends muss vollständig sein, "
    "'{python}' sagt aber '{words}': das Backend neu einrichten oder eine andere Umgebung wählen.",
    "The environment must have the backend installed, but '{python}' has no package 'geneman': "
    "set the backend up, or choose another environment.": "In der Umgebung muss das Backend "
    "installiert sein, '{python}' hat aber kein Paket 'geneman': das Backend einrichten oder eine "
    "andere Umgebung wählen.",
    "Add-on and backend must speak the same protocol, but the backend {version} speaks {theirs} "
    "and the add-on {ours}: set the backend up again.": "Add-on und Backend müssen dasselbe "
    "Protokoll sprechen, das Backend {version} spricht aber {theirs} und das Add-on {ours}: das "
    "Backend neu einrichten.",
    "Add-on and backend must speak the same protocol, but the backend {version} speaks {theirs} "
    "and the add-on {ours}: update the add-on.": "Add-on und Backend müssen dasselbe Protokoll "
    "sprechen, das Backend {version} spricht aber {theirs} und das Add-on {ours}: das Add-on "
    "aktualisieren.",
    "The backend must have the add-on's version {wanted}, but the one installed is {version}: set "
    "the backend up again.": "Das Backend muss die Version {wanted} des Add-ons haben, "
    "installiert ist aber {version}: das Backend neu einrichten.",
    # its life
    "The launcher must not fail in ways we do not know, but it did ({kind}): report it.": "Das "
    "Starten scheiterte auf eine Weise, die wir nicht kennen ({kind}): bitte melden.",
    "The backend must have a folder of its own, but '{folder}' cannot be made ({cause}): mend it, "
    "or free some space.": "Das Backend braucht einen eigenen Ordner, '{folder}' lässt sich aber "
    "nicht anlegen ({cause}): beheben oder Platz schaffen.",
    "The backend needs {needed} MB of free disk to start, but '{folder}' has {free} MB: free some "
    "space.": "Das Backend braucht zum Starten {needed} MB freien Platz, '{folder}' hat aber "
    "{free} MB: Platz schaffen.",
    "The backend must be startable, but '{python}' is not ({cause}): see that nothing blocks it, "
    "or set it up again.": "Das Backend muss sich starten lassen, '{python}' tut es aber nicht "
    "({cause}): nachsehen, ob es etwas blockiert, oder neu einrichten.",
    "The backend must be there within {seconds} seconds, but was not: it is started anew.": "Das "
    "Backend muss binnen {seconds} Sekunden da sein, war es aber nicht: es wird neu gestartet.",
    "The backend must answer within {seconds} seconds, but hung: it is started anew.": "Das "
    "Backend muss binnen {seconds} Sekunden antworten, hing aber: es wird neu gestartet.",
    "That happened {count} times in a row.": "Das geschah {count}-mal hintereinander.",
    # its endings
    "The backend stopped, as somebody asked it to: start it again.": "Das Backend hielt an, weil "
    "jemand es so wollte: wieder starten.",
    "The backend ended by a fault of its own: its log tells more.": "Das Backend endete durch "
    "einen eigenen Fehler: mehr steht im Protokoll.",
    "The backend did not take its options: look at the preferences.": "Das Backend nahm seine "
    "Optionen nicht an: in den Einstellungen nachsehen.",
    "The backend found its folder in use by another backend that does not answer: end that one, "
    "or restart the machine.": "Das Backend fand seinen Ordner von einem anderen Backend belegt, "
    "das nicht antwortet: jenes beenden oder den Rechner neu starten.",
    "The backend could not listen, as its port is taken: leave the port out.": "Das Backend "
    "konnte nicht lauschen, weil sein Port belegt ist: den Port weglassen.",
    "The backend cannot read or write its folder: free some space or mend the folder.": "Das "
    "Backend kann seinen Ordner nicht lesen oder schreiben: Platz schaffen oder den Ordner "
    "reparieren.",
    "The backend found a key file that others can read, or a damaged one.": "Das Backend fand "
    "eine Schlüsseldatei, die andere lesen können, oder eine beschädigte.",
    "The backend crashed: its log tells more; a new graphics driver may help.": "Das Backend "
    "stürzte ab: mehr steht im Protokoll; ein neuer Grafiktreiber kann helfen.",
    "The backend was ended by another program: start it again.": "Das Backend wurde von einem "
    "anderen Programm beendet: wieder starten.",
    "The backend has code that this processor lacks: set it up again.": "Das Backend enthält "
    "Code, den dieser Prozessor nicht kennt: neu einrichten.",
    "The backend ended itself after a fault: its log tells more.": "Das Backend beendete sich "
    "nach einem Fehler selbst: mehr steht im Protokoll.",
    "The backend was killed, most likely as the machine ran out of memory: close other programs "
    "or choose a smaller preset.": "Das Backend wurde abgeschossen, wohl weil der Speicher "
    "ausging: andere Programme schließen oder ein kleineres Preset wählen.",
    "The backend ran out of memory: close other programs or choose a smaller preset.": "Dem "
    "Backend ging der Speicher aus: andere Programme schließen oder ein kleineres Preset wählen.",
    "The backend lacks a library: install Microsoft's Visual C++ Redistributable.": "Dem Backend "
    "fehlt eine Bibliothek: Microsofts Visual C++ Redistributable installieren.",
    "The backend found an outdated "
    "library: install Microsoft's Visual C++ Redistributable.": "Das Backend fand eine veraltete "
    "Bibliothek: Microsofts Visual C++ Redistributable installieren.",
    "The backend could not load a library: restart the machine.": "Das Backend konnte eine "
    "Bibliothek nicht laden: den Rechner neu starten.",
    "The backend found the disk full: free some space.": "Das Backend fand die Platte voll: Platz "
    "schaffen.",
    "The backend is not installed whole: set it up again.": "Das Backend ist nicht vollständig "
    "installiert: neu einrichten.",
    "The backend was ended by signal {signal}: its log tells more.": "Das Backend wurde durch das "
    "Signal {signal} beendet: mehr steht im Protokoll.",
    "The backend ended with code {code}: its log tells more.": "Das Backend endete mit dem Code "
    "{code}: mehr steht im Protokoll.",
}
"""The English sentence to the German one; braces hold the same values."""
