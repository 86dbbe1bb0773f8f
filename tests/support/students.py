"""What config.json of a student keeps of the flags: do they make the same student?"""

import json

from refluence.data.dataset import Dataset
from refluence.files import Json
from refluence.jobs import record
from refluence.jobs.comparing import Comparing


def asked_again(config: Json, data: Dataset) -> tuple[Json, Json]:
    """The job of the `refluence transfer` with the recorded flags, and the recorded job, but for what each calls its arm."""
    flags = config["arguments"]
    asked = Comparing(methods=(flags["mechanism"],), transfer=record.transfer_from(flags), seeds=1, controls=False)
    (job,) = asked.jobs(data)
    return json.loads(json.dumps({**job.to_json(), "arm": ""})), {**config["resolved"]["unit"], "arm": ""}
