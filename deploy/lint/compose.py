"""What the schema of the compose specification can't say of deploy/compose.yaml."""

import pathlib
import sys

import yaml

path = pathlib.Path(sys.argv[1])
text = path.read_text()
compose = yaml.safe_load(text)
services = compose["services"]
problems = []


def need(holds, message):
    if not holds:
        problems.append(message)


for name, config in compose["configs"].items():
    need((path.parent / config["file"]).is_file(), f"config {name}: {config['file']} is not there")
for kind in ("configs", "secrets", "networks", "volumes"):
    used = set()
    for service in services.values():
        for entry in service.get(kind) or []:
            source = entry["source"] if isinstance(entry, dict) else entry.split(":")[0]
            if kind != "volumes" or not source.startswith((".", "/")):
                used.add(source)
    declared = set(compose[kind])
    need(used == declared, f"{kind}: used {sorted(used - declared)} undeclared, declared {sorted(declared - used)} unused")
for name, service in services.items():
    need("healthcheck" in service, f"{name}: no health check")
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    need("memory" in limits and "cpus" in limits, f"{name}: no limits of memory and processors")
    need(service.get("restart"), f"{name}: no restart policy")
    image = service.get("image", "")
    pinned = ":" in image and not image.endswith(":latest")
    need(pinned, f"{name}: the image {image!r} has no fixed tag")
    for port in service.get("ports") or []:
        need(str(port).startswith("127.0.0.1:"), f"{name}: port {port} is published beyond loopback")
    for variable, value in (service.get("environment") or {}).items():
        secret = any(word in variable.upper() for word in ("PASSWORD", "TOKEN", "API_KEY", "SECRET"))
        need(not secret or variable.endswith("_FILE"), f"{name}: {variable} holds a secret in the clear: {value!r}")
    for other, condition in (service.get("depends_on") or {}).items():
        need(other in services, f"{name} waits for {other}, which is no service")
        need(condition["condition"] == "service_healthy", f"{name} does not wait for the health of {other}")

print("\n".join(problems))
sys.exit(1 if problems else 0)
