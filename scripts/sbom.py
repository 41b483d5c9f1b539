#!/usr/bin/env python3
"""What is in an image, as SPDX 2.3 JSON: Debian's packages, the crates of the lock file, and what the web app bundles.

    sbom.py NAME PACKAGES CRATES NPM      PACKAGES: lines of `dpkg-query -W -f '${Package}\\t${Version}\\t${Architecture}\\n'`
"""

import base64
import hashlib
import json
import pathlib
import sys
import tomllib


def main():
    name, (listed, crates, npm) = sys.argv[1], (pathlib.Path(path).read_text() for path in sys.argv[2:])
    packages = []
    for line in listed.splitlines():
        package, version, architecture = line.split("\t")
        packages.append((package, version, f"pkg:deb/debian/{package}@{version}?arch={architecture}&distro=bookworm", ()))
    for crate in tomllib.loads(crates)["package"]:
        purl = f"pkg:cargo/{crate['name']}@{crate['version']}"
        packages.append((crate["name"], crate["version"], purl, ("SHA256", crate["checksum"]) if "checksum" in crate else ()))
    for path, package in json.loads(npm)["packages"].items():
        # The rest builds and tests it.
        if path and not package.get("dev"):
            title = path.rpartition("node_modules/")[2]
            kind, _, digest = package["integrity"].partition("-")
            checksum = (kind.upper(), base64.b64decode(digest).hex())
            packages.append((title, package["version"], f"pkg:npm/{title.replace('@', '%40', 1)}@{package['version']}", checksum))
    if not listed.strip():
        raise SystemExit(f"sbom: {name} lists no package")
    entries = []
    for number, (package, version, purl, checksum) in enumerate(packages):
        entry = {
            "SPDXID": f"SPDXRef-{number}", "name": package, "versionInfo": version, "downloadLocation": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}],
        }
        if checksum:
            entry["checksums"] = [{"algorithm": checksum[0], "checksumValue": checksum[1]}]
        entries.append(entry)
    # The same content is the same document.
    digest = hashlib.sha256(json.dumps(packages).encode()).hexdigest()
    json.dump(
        {
            "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
            "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{digest}",
            "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: reelfleet"]},
            "packages": entries,
            "relationships": [
                {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": entry["SPDXID"]}
                for entry in entries
            ],
        },
        sys.stdout, indent=1,
    )


if __name__ == "__main__":
    main()
