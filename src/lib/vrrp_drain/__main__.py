import sys

from vrrp_drain.commands.main import main

sys.exit(main())
