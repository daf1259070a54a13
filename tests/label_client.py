"""One call of MONAI Label's client, in its environment: URL FOLDER [method, arguments, named]; prints JSON."""

import json
import sys

from monailabel.client.client import MONAILabelClient

url, folder, given = sys.argv[1:]
method, arguments, named = json.loads(given)
print(json.dumps(getattr(MONAILabelClient(url, folder), method)(*arguments, **named)))
