"""A power loss of the real process: lossy_disk.c notes what it writes and syncs, and lose() takes back, sector by
sector and by chance, what was not synced when it was killed."""
import os
import struct
import subprocess

import smelt

SECTOR = 512
HEADER = struct.Struct("<IIQQ")


class LossyDisk:
    def __init__(self, folder):
        self.library = os.path.join(folder, "lossy_disk.so")
        self.notes = os.path.join(folder, "lossy_disk.notes")
        source = os.path.join(smelt.ROOT, "tests", "system", "lossy_disk.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", self.library, source, "-ldl"], check=True)

    def environment(self, slow_us=0):
        return {"LD_PRELOAD": self.library, "SMELT_LOSSY": self.notes, "SMELT_LOSSY_SLOW_US": str(slow_us)}

    def tell(self, what, on=True):
        """'fail': syncs fail from now on; 'hold-write', 'hold-sync': they wait; 'no-space': for no new file."""
        path = self.notes + "." + what
        if on:
            open(path, "w").close()
        else:
            os.unlink(path)

    def read(self):
        """[(kind, path, offset, bytes before)]; the last note may be cut."""
        with open(self.notes, "rb") as f:
            data = f.read()
        notes, at = [], 0
        while at + HEADER.size <= len(data):
            kind, path_bytes, offset, length = HEADER.unpack_from(data, at)
            at += HEADER.size
            path = data[at:at + path_bytes].decode()
            at += path_bytes
            before = data[at:at + length] if kind == 1 else b""
            at += length if kind == 1 else 0
            if at <= len(data):
                notes.append((kind, path, offset, before))
        return notes

    def lose(self, rng):
        """How many sectors were taken back."""
        pending, lost = {}, 0
        for kind, path, offset, before in self.read():
            if kind == 1:
                pending.setdefault(path, []).append((offset, before))
            elif kind == 2:
                pending[path] = []
        for path, writes in pending.items():
            if not os.path.exists(path):
                continue
            with open(path, "r+b") as f:
                for offset, before in reversed(writes):
                    at = offset
                    while at < offset + len(before):
                        end = min((at // SECTOR + 1) * SECTOR, offset + len(before))
                        if rng.random() < 0.5:
                            f.seek(at)
                            f.write(before[at - offset:end - offset])
                            lost += 1
                        at = end
        os.unlink(self.notes)
        return lost
