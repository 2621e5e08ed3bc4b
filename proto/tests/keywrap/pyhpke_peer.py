"""The other side of HPKE: reads one request of JSON, all bytes in hexadecimal, and answers it."""

import json
import sys

from pyhpke import AEADId, CipherSuite, KDFId, KEMId

request = json.load(sys.stdin)
field = {name: bytes.fromhex(value) for name, value in request.items() if name != "do"}
suite = CipherSuite.new(
    KEMId.DHKEM_P256_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM
)
if request["do"] == "seal":
    to = suite.kem.deserialize_public_key(field["public"])
    encapsulated, sender = suite.create_sender_context(to, info=field["info"])
    answer = {
        "encapsulated": encapsulated.hex(),
        "ciphertext": sender.seal(field["text"], aad=field["aad"]).hex(),
    }
else:
    private = suite.kem.deserialize_private_key(field["private"])
    recipient = suite.create_recipient_context(
        field["encapsulated"], private, info=field["info"]
    )
    answer = {"text": recipient.open(field["ciphertext"], aad=field["aad"]).hex()}
json.dump(answer, sys.stdout)
