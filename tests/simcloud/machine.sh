#!/bin/sh
# A machine of the simulated cloud: it writes down its process id, its boots, and that it was told to stop. It switches itself off where
# its user data says so, or runs on until its standard input has something or ends.
echo "$$" >process
echo "$BULLPEN_MACHINE_ID at $BULLPEN_MACHINE_ADDRESS: $(cat user-data)" >>boots
[ "$(cat user-data)" = 'poweroff' ] || ! read -r word || echo "$word" >>boots
