import { Type, type Static } from '@sinclair/typebox'
import { EnvironmentVariables, strict, Timestamp, WholeSeconds } from './common.js'
import { SyncReport } from './sync.js'

/** Absolute, no control characters, and short enough for Modal's tags. */
const SandboxPath = Type.String({ pattern: '^/[^\\u0000-\\u001f\\u007f]*$', maxLength: 255 })
const SecretName = Type.String({ pattern: '^[A-Za-z0-9._-]+$', maxLength: 64 })

export const SecretNames = Type.Array(SecretName, {
  maxItems: 20, uniqueItems: true, description: 'Modal secrets; each becomes environment variables.'
})

const tagName = '^[A-Za-z][A-Za-z0-9_-]{0,39}$'
export const Tags = Type.Record(Type.String({ pattern: tagName }), Type.String({ maxLength: 100 }), {
  ...strict, maxProperties: 10
})

export const Image = Type.Object({
  registry: Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9._/:@-]*$', maxLength: 255, description: 'Name in a registry, such as debian:12.'
  }),
  registrySecret: Type.Optional(SecretName),
  dockerfileCommands: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 8192, pattern: '^[^\\u0000]*$' }), {
    minItems: 1, maxItems: 100, description: 'Lines of a Dockerfile after its FROM.'
  }))
}, strict)

export const Volume = Type.Object({
  name: Type.String({ pattern: '^[A-Za-z0-9_-]{1,32}$', description: 'Yours; the same name is the same volume.' }),
  mountPath: Type.Optional(SandboxPath)
}, strict)

const Allowlist = (pattern: string) =>
  Type.Array(Type.String({ pattern, maxLength: 253 }), { maxItems: 100, uniqueItems: true })

export const Network = Type.Object({
  block: Type.Optional(Type.Boolean({ description: 'No network at all.' })),
  cidrAllowlist: Type.Optional(Allowlist('^[0-9A-Fa-f.:]+/[0-9]{1,3}$')),
  domainAllowlist: Type.Optional(Allowlist('^(\\*\\.)?[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*$'))
}, strict)

/** Where the workspace is kept in S3. Names only: the account says what they may be, and keys come from a secret. */
export const Storage = Type.Object({
  bucket: Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$' }),
  keyPrefix: Type.Optional(Type.String({
    maxLength: 512, pattern: '^[^\\u0000-\\u001f\\u007f]*$', description: 'Below what the account may use, which is the default.'
  })),
  mountPath: Type.Optional(Type.String({
    pattern: '^/[^\\u0000-\\u001f\\u007f]*$', maxLength: 255, description: 'Also mount the bucket there; needs a secret.'
  })),
  secretName: Type.Optional(SecretName),
  region: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,40}$' })),
  endpointUrl: Type.Optional(Type.String({ pattern: '^https?://[^\\s/?#@]+/?$', maxLength: 255 })),
  readOnly: Type.Boolean({ default: true, description: 'Of the mount.' }),
  initialize: Type.Boolean({ default: true, description: 'Fill the workspace before the sandbox is answered.' }),
  syncOnTerminate: Type.Boolean({ default: true, description: 'Store the workspace before the sandbox is ended, or expires.' }),
  syncAfterRun: Type.Boolean({ default: false, description: 'Store the workspace after each run of Claude.' }),
  versioned: Type.Boolean({ default: false, description: 'Keep each save as it was, beside those before it.' }),
  delete: Type.Boolean({
    default: false, description: 'Syncs that happen by themselves also delete from S3 what was removed in the workspace.'
  })
}, strict)
export type Storage = Static<typeof Storage>

/** What a client may say about a new sandbox; everything has a default. */
export const SandboxSpec = Type.Object({
  image: Type.Optional(Image),
  volume: Type.Optional(Volume),
  s3: Type.Optional(Storage),
  env: Type.Optional(EnvironmentVariables),
  secrets: Type.Optional(SecretNames),
  workdir: Type.Optional(SandboxPath),
  timeoutMs: Type.Optional(WholeSeconds),
  idleTimeoutMs: Type.Optional(WholeSeconds),
  cpu: Type.Optional(Type.Number({ minimum: 0.125, maximum: 64, description: 'Physical cores.' })),
  memoryMiB: Type.Optional(Type.Integer({ minimum: 128, maximum: 344_064 })),
  gpu: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9-]{1,30}!?(:[1-8])?$', description: 'Such as T4 or A100:2.' })),
  network: Type.Optional(Network),
  name: Type.Optional(Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$', description: 'Unique among your running sandboxes.'
  })),
  tags: Type.Optional(Tags)
}, strict)
export type SandboxSpec = Static<typeof SandboxSpec>

export const CreateHeaders = Type.Object({
  'idempotency-key': Type.Optional(Type.String({ minLength: 1, maxLength: 200 }))
})

/** Any text: a malformed id is answered like a missing one. */
export const SandboxParams = Type.Object({ id: Type.String() })
export type SandboxParams = Static<typeof SandboxParams>

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()])

export const SandboxStatus = Type.Union([Type.Literal('running'), Type.Literal('terminated'), Type.Literal('error')])

/** `error`: it ended by itself, other than by its lifetime, idleness or a terminate. */
export const SandboxView = Type.Object({
  id: Type.String(),
  status: SandboxStatus,
  createdAt: Timestamp,
  expiresAt: Timestamp,
  name: Nullable(Type.String()),
  image: Type.String(),
  volume: Nullable(Type.Object({ name: Type.String(), mountPath: Type.String() })),
  s3: Nullable(Type.Object({
    bucket: Type.String(),
    keyPrefix: Type.String(),
    secretName: Nullable(Type.String()),
    mountPath: Nullable(Type.String()),
    readOnly: Type.Boolean(),
    initialize: Type.Boolean(),
    syncOnTerminate: Type.Boolean(),
    syncAfterRun: Type.Boolean(),
    versioned: Type.Boolean(),
    delete: Type.Boolean()
  })),
  workdir: Type.String(),
  tags: Type.Record(Type.String(), Type.String()),
  exitCode: Nullable(Type.Integer())
})
export type SandboxView = Static<typeof SandboxView>

export const ActiveRun = Type.Object({ runId: Type.String(), startedAt: Timestamp })
export const SandboxDetails = Type.Composite([SandboxView, Type.Object({ activeRun: Nullable(ActiveRun) })])

export const ListQuery = Type.Object({
  limit: Type.Integer({ minimum: 1, maximum: 100, default: 20 }),
  cursor: Type.Optional(Type.String({ maxLength: 200 })),
  tag: Type.Optional(Type.Array(Type.String({ pattern: `${tagName.slice(0, -1)}:`, maxLength: 141 }), {
    maxItems: 10, description: 'name:value; given several times, all must match.'
  }))
}, strict)
export type ListQuery = Static<typeof ListQuery>

export const SandboxPage = Type.Object({
  sandboxes: Type.Array(SandboxView),
  nextCursor: Nullable(Type.String())
})
export type SandboxPage = Static<typeof SandboxPage>

/** One step of the end of a sandbox, and how it went. */
export const TerminateStep = Type.Object({
  step: Type.String(),
  ok: Type.Boolean(),
  durationMs: Type.Integer(),
  error: Type.Optional(Type.String()),
  report: Type.Optional(SyncReport)
})
export type TerminateStep = Static<typeof TerminateStep>

export const TerminateQuery = Type.Object({
  sync: Type.Optional(Type.Boolean({ description: 'Store the workspace before; as the sandbox was made otherwise.' }))
}, strict)

export const Termination = Type.Object({
  id: Type.String(),
  status: SandboxStatus,
  exitCode: Nullable(Type.Integer()),
  steps: Type.Array(TerminateStep),
  released: Type.Object({
    sandbox: Type.Boolean({ description: 'False when it had ended before.' }),
    keptVolume: Nullable(Type.String({ description: 'The volume that stays, with its files.' }))
  })
})
export type Termination = Static<typeof Termination>
