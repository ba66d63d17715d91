/**
 * Schemas of the JSON documents. Unknown keys are ignored, known ones must have the right type: these bytes come from
 * strangers (S10-S12). Only `documents.ts` imports this, lazily: zod costs start time.
 */
import { z } from "zod";

/** Most layers or manifests in one document. The kernel stacks far fewer; more is an attack or a mistake. */
const MAX_ITEMS = 2048;

const strings = z.record(z.string(), z.string());

export const platformSchema = z.object({
  architecture: z.string().default(""),
  os: z.string().default(""),
  "os.version": z.string().optional(),
  "os.features": z.array(z.string()).nullish(),
  variant: z.string().optional(),
});

export const descriptorSchema = z.object({
  mediaType: z.string().max(256).default(""),
  digest: z.string().max(256),
  size: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
  annotations: strings.nullish(),
  urls: z.array(z.string()).nullish(),
  data: z
    .base64()
    .max(64 * 1024)
    .nullish(),
  platform: platformSchema.nullish(),
});

export const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(MAX_ITEMS),
  annotations: strings.nullish(),
  subject: descriptorSchema.nullish(),
});

export const indexSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  manifests: z.array(descriptorSchema).max(MAX_ITEMS),
  annotations: strings.nullish(),
});

const emptySet = z.record(z.string(), z.unknown()).nullish();

export const configSchema = platformSchema.extend({
  created: z.string().nullish(),
  author: z.string().nullish(),
  config: z
    .object({
      User: z.string().nullish(),
      ExposedPorts: emptySet,
      Env: z.array(z.string()).nullish(),
      Entrypoint: z.array(z.string()).nullish(),
      Cmd: z.array(z.string()).nullish(),
      Volumes: emptySet,
      WorkingDir: z.string().nullish(),
      Labels: strings.nullish(),
      StopSignal: z.string().nullish(),
      ArgsEscaped: z.boolean().nullish(),
    })
    .nullish(),
  rootfs: z.object({ type: z.string(), diff_ids: z.array(z.string()).max(MAX_ITEMS).nullish() }),
  history: z.array(z.unknown()).nullish(),
});

/** `manifest.json` of a docker-save archive. */
export const dockerArchiveSchema = z
  .array(
    z.object({
      Config: z.string(),
      RepoTags: z.array(z.string()).nullish(),
      Layers: z.array(z.string()).max(MAX_ITEMS).nullish(),
    }),
  )
  .max(MAX_ITEMS);
