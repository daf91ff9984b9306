"""`python -m vibetel_client`."""

import sys

from vibetel_client.cli import main

sys.exit(main())
