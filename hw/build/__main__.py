"""``python -m hw.build --board NAME``."""

import sys

from hw.build.command import main

sys.exit(main())
