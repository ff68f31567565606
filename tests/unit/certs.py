"""Certificates for the tests of TLS, made with the ``openssl`` program.

They are made once, when first asked for, and are gone when the process ends. One
authority signs them all, some by way of an intermediate one.
"""

import atexit
import functools
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest

# "ca" refuses to sign two certificates of the same name unless told not to mind.
_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
default_ca = authority
[authority]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[middle]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

_LEAF = """
[{section}]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""

_HERE = "DNS:localhost,IP:127.0.0.1"

# What is signed: its names, until when it is good, and by whom.
_LEAVES = {
    "server": (_HERE, "20491231235959Z", "ca"),
    "elsewhere": ("DNS:elsewhere.test", "20491231235959Z", "ca"),
    "expired": (_HERE, "20210101000000Z", "ca"),
    "chained": (_HERE, "20491231235959Z", "middle"),
    "client": ("DNS:client.test", "20491231235959Z", "ca"),
}


class _Authority:
    def __init__(self, folder):
        self.folder = folder
        leaves = "".join(
            _LEAF.format(section=name, names=names)
            for name, (names, _, _) in _LEAVES.items()
        )
        (folder / "config").write_text(_CONFIG + leaves)
        (folder / "index.txt").touch()

    def _openssl(self, *args):
        subprocess.run(
            ["openssl", *args, "-config", "config"],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )

    def _request(self, name, *options):
        curve = "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"
        key = "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}"
        self._openssl("req", *curve, *key, *options)

    def root(self, name):
        """Make a self-signed certificate."""
        options = "-x509", "-days", "3650", "-extensions", "root"
        self._request(name, *options, "-out", f"{name}.crt")

    def _gather(self, name, signer):
        """Put a key, its certificate and the one in between into one file."""
        parts = [f"{name}.key", f"{name}.crt"]
        if signer == "middle":
            parts.append("middle.crt")
        pem = "".join((self.folder / part).read_text() for part in parts)
        (self.folder / f"{name}.pem").write_text(pem)

    def sign(self, name, section, end, signer):
        """Make a certificate that another one signs."""
        self._request(name, "-new", "-out", f"{name}.csr")
        by = "-cert", f"{signer}.crt", "-keyfile", f"{signer}.key"
        dates = "-startdate", "20200101000000Z", "-enddate", end
        files = "-in", f"{name}.csr", "-out", f"{name}.crt"
        what = "-batch", "-notext", "-extensions", section
        self._openssl("ca", *by, *dates, *files, *what)
        self._gather(name, signer)


@functools.cache
def _made():
    if shutil.which("openssl") is None:
        return None
    folder = tempfile.TemporaryDirectory(prefix="certificates-")
    atexit.register(folder.cleanup)
    authority = _Authority(Path(folder.name))
    authority.root("ca")
    authority.sign("middle", "middle", "20491231235959Z", "ca")
    for name, (_, end, signer) in _LEAVES.items():
        authority.sign(name, name, end, signer)
    return folder


def path(name):
    """Return the path of a file: NAME.pem has a key and its certificates.

    "ca.crt" has the authority's certificate alone.
    """
    folder = _made()
    if folder is None:
        pytest.skip("certificates are made with the openssl program, which is missing")
    return str(Path(folder.name, name))


def server_context(name="server", version=None, client_verify=ssl.CERT_NONE):
    """Return a context for a server that shows the certificate of a name.

    *version* is the only one to be spoken. *client_verify* tells whether clients
    have to show certificates, too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path(f"{name}.pem"))
    context.load_verify_locations(path("ca.crt"))
    context.verify_mode = client_verify
    return _only(context, version)


def client_context(name=None, version=None, trust=True):
    """Return a context for a client, which trusts the authority unless told not to.

    The client shows the certificate of a name, if given.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust:
        context.load_verify_locations(path("ca.crt"))
    if name is not None:
        context.load_cert_chain(path(f"{name}.pem"))
    return _only(context, version)


def _only(context, version):
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context
