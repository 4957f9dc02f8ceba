"""What `ucbench worker --evaluator` runs in tests: `evaluator.py TEMPLATE MODE REQUEST.json FOLDER`.

It takes no package but the standard library, so that hundreds of evaluations cost little: the run is a copy
of the folder TEMPLATE, which the package wrote, under the name of the model that was asked for. MODE is
honest, or one of the things below that an evaluation must not do.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: As in ucbench.record: options that came after the first records, and are left out where not chosen.
LATER = ("template", "attention", "max_pixels", "guard")


def run_id(record: dict[str, Any]) -> str:
    entry = {k: v for k, v in record["entry"].items() if k not in LATER or v is not None}
    track = {k: v for k, v in record["track"].items() if k not in ("n_samples", "n_questions")}
    content = {"entry": entry, "track": track, "engine": "1"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def write(template: Path, request: dict[str, Any], out: Path) -> Path:
    record = json.loads((template / "record.json").read_text())
    record["entry"] |= {"model": request["model"], "revision": request["revision"], "dtype": request["dtype"]}
    record["run_id"] = run_id(record)
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", request["model"]).strip("-.").lower()
    folder = out / slug / record["run_id"]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template / "answers.parquet", folder / "answers.parquet")
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def main(template: Path, mode: str, request: dict[str, Any], out: Path) -> None:
    count = out / "starts"
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    if mode == "varied":
        time.sleep(random.random())
    if mode == "slow":
        print("evaluating slowly", flush=True)
        time.sleep(600)
    if mode == "second" and count.read_text() == "1":
        time.sleep(600)
    if mode == "secrets":
        print("hf_abcdefghijklmnop", os.environ.get("HF_TOKEN", "no token here"))
        sys.exit("it went wrong in " + str(out))
    if mode == "memory":
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB")
        sys.exit(1)
    if mode == "daemon":
        subprocess.Popen(["sleep", "4713"], start_new_session=True)
    folder = write(template, request, out)
    if mode == "forged":
        record = json.loads((folder / "record.json").read_text())
        best = {"value": 1.0, "low": 1.0, "high": 1.0}
        record |= {"provenance": "measured", "source": "the board itself", "status": "complete"}
        record["scores"] = {"overall": {"balanced_accuracy": best, "image_alignment": best}}
        (folder / "record.json").write_text(json.dumps(record))
    if mode == "link":
        (folder / "answers.parquet").unlink()
        (folder / "answers.parquet").symlink_to("/etc/hostname")
    print("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(Path(sys.argv[3]).read_text()), Path(sys.argv[4]))
