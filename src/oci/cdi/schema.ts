/** Schema of CDI files (specification 0.3 to 1.1). Unknown members are ignored. Loaded lazily: zod costs start time. */
import { z } from "zod";

const path = z.string().startsWith("/");
const text = z.string().refine((value) => !value.includes("\0"), "contains a NUL byte");
const id = z.number().int().min(0).max(0xffffffff);

const editsSchema = z.object({
  env: z.array(text.includes("=")).optional(),
  deviceNodes: z
    .array(
      z.object({
        path,
        hostPath: path.optional(),
        type: z.enum(["b", "c", "u", "p"]).optional(),
        major: z.number().int().min(0).optional(),
        minor: z.number().int().min(0).optional(),
        fileMode: z.number().int().min(0).max(0o7777).optional(),
        permissions: z
          .string()
          .regex(/^([rwm]*|none)$/)
          .optional(),
        uid: id.optional(),
        gid: id.optional(),
      }),
    )
    .optional(),
  mounts: z
    .array(
      z.object({
        hostPath: text,
        containerPath: path,
        type: z.string().optional(),
        options: z.array(text).optional(),
      }),
    )
    .optional(),
  hooks: z
    .array(
      z.object({
        hookName: z.string(),
        path,
        args: z.array(text).optional(),
        env: z.array(text).optional(),
        timeout: z.number().int().optional(),
      }),
    )
    .optional(),
  additionalGids: z.array(id).optional(),
  intelRdt: z.record(z.string(), z.unknown()).optional(),
});

export const cdiSchema = z.object({
  cdiVersion: z.string().regex(/^(0\.[3-9]\.\d+|1\.\d+\.\d+)$/),
  kind: z.string().regex(/^[A-Za-z][\w.-]*\/[A-Za-z][\w-]*$/),
  devices: z.array(
    z.object({ name: z.string().regex(/^[A-Za-z0-9][\w.:-]*$/), containerEdits: editsSchema }),
  ),
  containerEdits: editsSchema.optional(),
});

/** A file. */
export type CdiSpec = z.infer<typeof cdiSchema>;
/** Changes of a container spec. */
export type CdiEdits = z.infer<typeof editsSchema>;
