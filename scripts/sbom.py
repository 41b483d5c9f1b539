#!/usr/bin/env python3
"""What is in an image, as SPDX 2.3 JSON: Debian's packages and the crates of the lock file.

    sbom.py NAME PACKAGES LOCK      PACKAGES: lines of `dpkg-query -W -f '${Package}\\t${Version}\\t${Architecture}\\n'`
"""

import hashlib
import json
import pathlib
import sys
import tomllib


def main():
    name, listed, lock = sys.argv[1], pathlib.Path(sys.argv[2]).read_text(), pathlib.Path(sys.argv[3])
    packages = []
    for line in listed.splitlines():
        package, version, architecture = line.split("\t")
        packages.append((package, version, f"pkg:deb/debian/{package}@{version}?arch={architecture}&distro=bookworm", None))
    for crate in tomllib.loads(lock.read_text())["package"]:
        purl = f"pkg:cargo/{crate['name']}@{crate['version']}"
        packages.append((crate["name"], crate["version"], purl, crate.get("checksum")))
    if not listed.strip():
        raise SystemExit(f"sbom: {name} lists no package")
    entries = []
    for number, (package, version, purl, checksum) in enumerate(packages):
        entry = {
            "SPDXID": f"SPDXRef-{number}", "name": package, "versionInfo": version, "downloadLocation": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}],
        }
        if checksum:
            entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksum}]
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
