"""Writes a repository with python-tuf, in states that follow each other, each a folder with
`metadata` and `targets` as a server would have them. `SHA256` of a target's content names its file."""

import datetime
import hashlib
import sys
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

OUT = Path(sys.argv[1])
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
LATER = NOW + datetime.timedelta(days=30)
PAST = NOW - datetime.timedelta(days=1)
PRETTY = JSONSerializer(compact=False)

new = {
    "ed25519": CryptoSigner.generate_ed25519,
    "ecdsa": CryptoSigner.generate_ecdsa,
    "rsa": CryptoSigner.generate_rsa,
}


class Repository:
    def __init__(self, consistent=True):
        self.signers = {}
        self.root = Root(expires=LATER, consistent_snapshot=consistent)
        self.targets = {"targets": Targets(expires=LATER)}
        self.snapshot = Snapshot(expires=LATER)
        self.timestamp = Timestamp(expires=LATER)
        self.files = {}
        self.contents = {}
        for role, kind in zip(
            ["root", "targets", "snapshot", "timestamp"], ["rsa", "ecdsa", "ed25519", "ed25519"]
        ):
            self.add_key(role, kind)

    def add_key(self, role, kind):
        signer = new[kind]()
        self.root.add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)

    def rotate(self, role, kinds):
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        if role != "root":
            self.signers[role] = []
        for kind in kinds:
            self.add_key(role, kind)
        self.root.roles[role].threshold = len(kinds)

    def sign(self, signed, signers):
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(PRETTY)

    def publish_root(self):
        self.files[f"{self.root.version}.root.json"] = self.sign(self.root, self.signers["root"])
        self.root.version += 1

    def add(self, role, path, content):
        self.targets[role].targets[path] = TargetFile.from_data(path, content, ["sha256", "sha512"])
        self.contents[path] = content

    def delegate(self, name, kind, terminating, paths=None, prefixes=None):
        signer = new[kind]()
        role = DelegatedRole(name, [], 1, terminating, paths, prefixes)
        top = self.targets["targets"]
        if top.delegations is None:
            top.delegations = Delegations({}, {})
        top.delegations.roles[name] = role
        top.add_key(signer.public_key, name)
        self.signers[name] = [signer]
        self.targets[name] = Targets(expires=LATER)

    def publish(self, signed_by=None):
        consistent = self.root.consistent_snapshot
        prefix = lambda version: f"{version}." if consistent else ""
        for name, targets in self.targets.items():
            data = self.sign(targets, self.signers[(signed_by or {}).get(name, name)])
            self.files[f"{prefix(targets.version)}{name}.json"] = data
            self.snapshot.meta[f"{name}.json"] = MetaFile.from_data(targets.version, data, ["sha256"])
        data = self.sign(self.snapshot, self.signers["snapshot"])
        self.files[f"{prefix(self.snapshot.version)}snapshot.json"] = data
        self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, data, ["sha512"])
        self.files["timestamp.json"] = self.sign(self.timestamp, self.signers["timestamp"])

    def bump(self):
        for signed in (*self.targets.values(), self.snapshot, self.timestamp):
            signed.version += 1

    def write(self, state):
        for name, data in self.files.items():
            self.file(f"{state}/metadata/{name}", data)
        for path, content in self.contents.items():
            folder, _, name = path.rpartition("/")
            for kind in ("sha256", "sha512") if self.root.consistent_snapshot else ("",):
                hashed = f"{hashlib.new(kind, content).hexdigest()}.{name}" if kind else name
                self.file(f"{state}/targets/{folder}/{hashed}", content)

    def file(self, name, data):
        path = OUT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


repo = Repository()
repo.root.unrecognized_fields["x-other"] = {"a": ["b", 1, True, None, "é\n\"\\"]}
repo.publish_root()
repo.add("targets", "top.txt", b"top")
repo.delegate("models", "ecdsa", False, paths=["models/*", "data/*/?.bin"])
repo.delegate("bins", "rsa", True, prefixes=list("0123456789abcdef"))
repo.add("models", "models/a b.gguf", b"model a")
repo.add("models", "data/x/1.bin", b"data")
repo.add("bins", "anything", b"binned")
repo.publish()
repo.write("first")

# Every key is replaced, twice, with thresholds; the first of the two roots is expired.
repo.rotate("root", ["ed25519", "ecdsa"])
repo.root.expires = PAST
repo.publish_root()
repo.signers["root"] = repo.signers["root"][-2:]
repo.root.expires = LATER
for role in ("targets", "snapshot", "timestamp"):
    repo.rotate(role, ["ecdsa", "ed25519"])
repo.publish_root()
repo.bump()
repo.add("models", "models/a b.gguf", b"model a, second")
repo.publish()
repo.write("second")

repo.bump()
repo.timestamp.expires = PAST
repo.publish()
repo.write("expired")

repo.timestamp.expires = LATER
repo.add("targets", "evil", b"evil")
repo.publish(signed_by={"targets": "models"})
repo.write("wrong-role")

plain = Repository(consistent=False)
plain.publish_root()
plain.add("targets", "a/b.txt", b"plain")
plain.publish()
plain.write("plain")
