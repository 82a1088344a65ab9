"""What every test stands on."""

import os
import sys
from pathlib import Path

# pynetdicom's programs bear the names of dcmtk's, and come first on the path of an activated environment.
_OWN = Path(sys.executable).parent
os.environ["PATH"] = os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if Path(one) != _OWN)
