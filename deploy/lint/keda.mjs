// Checks a ScaledObject against KEDA's own schema: node keda.mjs NODE_MODULES FILE
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";

const [modules, file] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${modules}/`));
const { parse } = require("yaml");
const { ScaledObject } = await import(pathToFileURL(`${modules}/@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject.js`));

const { apiVersion, kind, ...rest } = parse(readFileSync(file, "utf8"));
const scaled = new ScaledObject(rest);
if (apiVersion !== scaled.apiVersion || kind !== scaled.kind) throw new Error(`${apiVersion} ${kind} is no ScaledObject`);
scaled.validate();
const [{ type, metadata }] = scaled.spec.triggers;
// The schema leaves a trigger's own fields open; these are those of the Kafka scaler.
for (const field of ["bootstrapServers", "consumerGroup", "topic", "lagThreshold"]) {
  if (type !== "kafka" || typeof metadata[field] !== "string") throw new Error(`trigger ${type} lacks ${field}`);
}
