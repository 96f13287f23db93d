#!/bin/sh
# Runs inside the Debian folder: a screen that nobody sees, the extension, and Blender's window.
set -eu
export LIBGL_ALWAYS_SOFTWARE=1 LC_ALL=C.UTF-8 XDG_RUNTIME_DIR=/tmp HOME=/tmp/home
export BLENDER_USER_RESOURCES=/tmp/blender
own=$BLENDER_USER_RESOURCES/extensions/.user/user_default/geneman
mkdir -p "$HOME" "$own"
install -m 600 /shared/keys.json "$own"  # whose other half the backend has authorised
# It chooses a display that is free, also of those outside.
Xvfb -displayfd 3 -screen 0 1600x1000x24 +extension GLX -nolisten tcp \
    3>/tmp/display >/shared/xvfb.log 2>&1 &
until [ -s /tmp/display ]; do sleep 0.1; done
DISPLAY=:$(cat /tmp/display)
export DISPLAY
blender --background --command extension install-file -r user_default -e /shared/addon.zip
exec blender --enable-event-simulate --window-geometry 0 0 1600 1000 --online-mode \
    --python-exit-code 9 --python /shared/tests/perform.py
