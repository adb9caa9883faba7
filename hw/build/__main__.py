"""``python -m hw.build --board NAME``."""

from firmware.screen import leave
from hw.build.command import main

leave(main())
