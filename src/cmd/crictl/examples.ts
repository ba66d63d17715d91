/** Examples of commands whose declaration has none, by their words. Only help reads them. */
export const examples: Readonly<Record<string, readonly string[]>> = {
  crictl: [
    "crictl ps -a",
    "crictl -r unix:///run/containerd/containerd.sock pods",
    "crictl run container.yaml pod.yaml",
  ],
  "crictl create jsonschema": ["crictl create jsonschema --container > container.schema.json"],
  "crictl pull jsonschema": ["crictl pull jsonschema"],
  "crictl run jsonschema": ["crictl run jsonschema --pod > pod.schema.json"],
  "crictl runp jsonschema": ["crictl runp jsonschema > pod.schema.json"],
  "crictl imagefsinfo": ["crictl imagefsinfo", "crictl imagefsinfo -o yaml"],
  "crictl metricdescs": ["crictl metricdescs -o yaml"],
  "crictl metricsp": ["crictl metricsp", "crictl metricsp --watch"],
  "crictl runtime-config": ["crictl runtime-config"],
  "crictl version": ["crictl version"],
};
