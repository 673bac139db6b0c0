import { Type, type Static } from '@sinclair/typebox'
import { EnvironmentVariables, ErrorAnswer, Gpu, strict, Timestamp, volumeNamePattern, WholeSeconds } from './common.js'
import { eventStream } from './operation.js'
import { SyncReport } from './sync.js'

/** Absolute, without control characters, and short enough for Modal's tags. */
const SandboxPath = Type.String({ pattern: '^/[^\\u0000-\\u001f\\u007f]*$', maxLength: 255 })
const SecretName = Type.String({ pattern: '^[A-Za-z0-9._-]+$', maxLength: 64 })

export const SecretNames = Type.Array(SecretName, {
  maxItems: 20, uniqueItems: true, description: 'Modal secrets, set as environment variables.'
})

const tagName = '^[A-Za-z][A-Za-z0-9_-]{0,39}$'
const Tags = Type.Record(Type.String({ pattern: tagName }), Type.String({ maxLength: 100 }), {
  ...strict, maxProperties: 10
})

const Image = Type.Object({
  registry: Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9._/:@-]*$', maxLength: 255, description: 'An image reference, such as debian:12.'
  }),
  registrySecret: Type.Optional(SecretName),
  dockerfileCommands: Type.Optional(Type.Array(
    Type.String({ minLength: 1, maxLength: 8192, pattern: '^[^\\u0000]*$' }),
    { minItems: 1, maxItems: 100, description: 'Lines of a Dockerfile after its FROM.' })),
  claude: Type.Optional(Type.Boolean({
    description: 'Whether Claude is installed in it, before dockerfileCommands, unless it has Claude already. Default: true.'
  }))
}, strict)

const Volume = Type.Object({
  name: Type.String({ pattern: volumeNamePattern, description: 'The same name in your account is the same volume.' }),
  mountPath: Type.Optional(SandboxPath),
  version: Type.Optional(Type.Union([Type.Literal(1), Type.Literal(2)], {
    description: 'Of Modal\'s volume file system, for a new volume. One that exists keeps its version: another one is refused.'
  })),
  readOnly: Type.Optional(Type.Boolean({ description: 'Mounts it read-only; not together with s3.' })),
  subPath: Type.Optional(Type.String({
    pattern: '^(?!\\.{1,2}(/|$))[^/\\u0000-\\u001f\\u007f]+(/(?!\\.{1,2}(/|$))[^/\\u0000-\\u001f\\u007f]+)*$',
    maxLength: 255,
    description: 'Mounts only this directory of the volume, such as projects/one.'
  })),
  exclusive: Type.Optional(Type.Boolean({
    description: 'Refuses the sandbox while another one has the same files mounted, and others as long as this one runs.'
  }))
}, strict)
export type Volume = Static<typeof Volume>

const Allowlist = (pattern: string) =>
  Type.Array(Type.String({ pattern, maxLength: 253 }), { maxItems: 100, uniqueItems: true })

const Network = Type.Object({
  block: Type.Optional(Type.Boolean({ description: 'Disables the network.' })),
  cidrAllowlist: Type.Optional(Allowlist('^[0-9A-Fa-f.:]+/[0-9]{1,3}$')),
  domainAllowlist: Type.Optional(Allowlist('^(\\*\\.)?[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*$'))
}, strict)

/** Where the workspace is stored in S3. The account restricts the names; the credentials come from a secret. */
export const Storage = Type.Object({
  bucket: Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$' }),
  keyPrefix: Type.Optional(Type.String({
    maxLength: 512,
    pattern: '^[^\\u0000-\\u001f\\u007f]*$',
    description: 'Below the prefix that the account may use, which is the default.'
  })),
  mountPath: Type.Optional(Type.String({
    pattern: '^/[^\\u0000-\\u001f\\u007f]*$',
    maxLength: 255,
    description: 'Where to mount the bucket as well; needs a secret.'
  })),
  secretName: Type.Optional(SecretName),
  region: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,40}$' })),
  endpointUrl: Type.Optional(Type.String({ pattern: '^https?://[^\\s/?#@]+/?$', maxLength: 255 })),
  readOnly: Type.Boolean({ default: true, description: 'Whether the mount is read-only.' }),
  initialize: Type.Boolean({ default: true, description: 'Downloads the workspace before the sandbox is returned.' }),
  syncOnTerminate: Type.Boolean({
    default: true, description: 'Uploads the workspace before the sandbox is terminated or expires.'
  }),
  syncAfterRun: Type.Boolean({ default: false, description: 'Uploads the workspace after each run of Claude.' }),
  versioned: Type.Boolean({ default: false, description: 'Keeps every version of the workspace that was uploaded.' }),
  delete: Type.Boolean({
    default: false, description: 'Automatic syncs also delete from S3 what was deleted in the workspace.'
  })
}, strict)
export type Storage = Static<typeof Storage>

export const Repository = Type.Object({
  url: Type.String({
    pattern: '^https?://[^\\s/?#@\\u0000-\\u001f]+/[^\\s?#\\u0000-\\u001f]+$',
    maxLength: 500,
    description: 'Without credentials.'
  }),
  branch: Type.Optional(Type.String({
    pattern: '^(?!-)[^\\s~^:?*\\[\\\\\\u0000-\\u001f\\u007f]+$', maxLength: 200, description: 'A branch or a tag. Default: the repository\'s own.'
  })),
  depth: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'Only so many commits. Default: all.' })),
  secretName: Type.Optional({
    ...SecretName, description: 'A Modal secret with GIT_TOKEN, and GIT_USERNAME where the host wants a certain one. For the clone alone.'
  })
}, { ...strict, description: 'Cloned into the working directory, unless it is there already.' })
export type Repository = Static<typeof Repository>

const upTo = 'At most what your account allows.'

/** The options of a new sandbox; everything has a default. */
export const SandboxSpec = Type.Object({
  image: Type.Optional(Image),
  volume: Type.Optional(Volume),
  s3: Type.Optional(Storage),
  git: Type.Optional(Repository),
  env: Type.Optional(EnvironmentVariables),
  secrets: Type.Optional(SecretNames),
  workdir: Type.Optional(SandboxPath),
  timeoutMs: Type.Optional({ ...WholeSeconds, description: `When it ends at the latest; cannot be extended. ${upTo}` }),
  idleTimeoutMs: Type.Optional({
    ...WholeSeconds, description: `It ends after this long without a command, a run or a sync. ${upTo}`
  }),
  cpu: Type.Optional(Type.Number({
    minimum: 0.125, maximum: 64, description: `Physical cores; it may use up to twice as many. Default: 1. ${upTo}`
  })),
  memoryMiB: Type.Optional(Type.Integer({
    minimum: 128, maximum: 344_064, description: `It may use up to twice as much. Default: 2048. ${upTo}`
  })),
  gpu: Type.Optional(Gpu('', { description: 'GPU type and count, such as T4 or A100:2; only what your account allows.' })),
  network: Type.Optional(Network),
  name: Type.Optional(Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$', description: 'Unique among your running sandboxes.'
  })),
  tags: Type.Optional(Tags)
}, strict)
export type SandboxSpec = Static<typeof SandboxSpec>

export const CreateHeaders = Type.Object({
  'idempotency-key': Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  prefer: Type.Optional(Type.String({ description: 'respond-async: 202 once the account\'s limits allow it.' }))
})

/** Any text: a malformed id is treated like an unknown one. */
export const SandboxParams = Type.Object({ id: Type.String() })
export type SandboxParams = Static<typeof SandboxParams>

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()])

const SandboxStatus = Type.Union([Type.Literal('running'), Type.Literal('terminated'), Type.Literal('error')])

const EndReason = Type.Union([
  Type.Literal('exited'), Type.Literal('failed'), Type.Literal('terminated'), Type.Literal('timeout'),
  Type.Literal('start_failed'), Type.Literal('modal_failed'), Type.Literal('idle_timeout'), Type.Literal('out_of_memory')
], { description: 'How it ended, in the words of Modal: `exited` and `failed` by itself, with 0 or another exit code.' })
export type EndReason = Static<typeof EndReason>

/** Status `error`: it ended by itself, not by its lifetime, its idle timeout or a termination. */
export const SandboxView = Type.Object({
  id: Type.String(),
  status: SandboxStatus,
  reason: Nullable(EndReason),
  createdAt: Timestamp,
  expiresAt: Timestamp,
  name: Nullable(Type.String()),
  image: Type.String(),
  volume: Nullable(Type.Object({
    name: Type.String(),
    mountPath: Type.String(),
    readOnly: Type.Boolean(),
    subPath: Nullable(Type.String()),
    exclusive: Type.Boolean()
  })),
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
  resources: Nullable(Type.Object({
    cpu: Type.Number(),
    memoryMiB: Type.Integer(),
    gpu: Nullable(Type.String()),
    usdPerHour: Nullable(Type.Number({
      description: 'An estimate, by the operator\'s prices for what was asked for; what it uses beyond that costs more. ' +
        'Null with a GPU, and where there are no prices.'
    }))
  })),
  tags: Type.Record(Type.String(), Type.String()),
  exitCode: Nullable(Type.Integer())
})
export type SandboxView = Static<typeof SandboxView>

/** What is no failure, but may cost somebody their work. */
export const Warning = Type.Object({
  code: Type.Union([Type.Literal('VOLUME_SHARED'), Type.Literal('PREFIX_SHARED')]),
  message: Type.String(),
  sandboxes: Type.Array(Type.String(), { description: 'Ids of the other sandboxes.' })
})
export type Warning = Static<typeof Warning>

export const CreatedSandbox = Type.Composite([
  SandboxView, Type.Object({ warnings: Type.Optional(Type.Array(Warning)) })
])
export type CreatedSandbox = Static<typeof CreatedSandbox>

export const CreationStep = Type.Object({
  step: Type.String(),
  status: Type.Union([Type.Literal('started'), Type.Literal('done'), Type.Literal('failed')]),
  durationMs: Type.Optional(Type.Integer())
})
export type CreationStep = Static<typeof CreationStep>

export const CreateEvents = eventStream({
  step: CreationStep,
  log: Type.Object({ text: Type.String({ description: 'Output of the image\'s build.' }) }),
  sandbox: CreatedSandbox,
  error: ErrorAnswer
})

const ActiveRun = Type.Object({ runId: Type.String(), sessionId: Nullable(Type.String()), startedAt: Timestamp })
export const SandboxDetails = Type.Composite([SandboxView, Type.Object({ activeRun: Nullable(ActiveRun) })])
export type SandboxDetails = Static<typeof SandboxDetails>

export const DetailsHeaders = Type.Object({
  accept: Type.Optional(Type.String({
    description: 'text/event-stream: how it is, and how it is whenever that has changed, until it has ended.'
  }))
})

export const DetailsEvents = eventStream({ sandbox: SandboxDetails, error: ErrorAnswer })

export const ListQuery = Type.Object({
  limit: Type.Integer({ minimum: 1, maximum: 100, default: 20 }),
  cursor: Type.Optional(Type.String({ maxLength: 200 })),
  tag: Type.Optional(Type.Array(Type.String({ pattern: `${tagName.slice(0, -1)}:`, maxLength: 141 }), {
    maxItems: 10, description: 'name:value; if repeated, all must match.'
  }))
}, strict)
export type ListQuery = Static<typeof ListQuery>

export const SandboxPage = Type.Object({
  sandboxes: Type.Array(SandboxView),
  nextCursor: Nullable(Type.String())
})
export type SandboxPage = Static<typeof SandboxPage>

/** One step of terminating a sandbox, and its outcome. */
export const TerminateStep = Type.Object({
  step: Type.String(),
  ok: Type.Boolean(),
  durationMs: Type.Integer(),
  error: Type.Optional(Type.String()),
  report: Type.Optional(SyncReport)
})
export type TerminateStep = Static<typeof TerminateStep>

export const TerminateQuery = Type.Object({
  sync: Type.Optional(Type.Boolean({ description: 'Whether to upload the workspace first. Default: syncOnTerminate.' })),
  force: Type.Boolean({
    default: false,
    description: 'Terminates the sandbox even if its workspace could not be stored and is nowhere else.'
  })
}, strict)

export const Termination = Type.Object({
  id: Type.String(),
  status: SandboxStatus,
  reason: Nullable(EndReason),
  exitCode: Nullable(Type.Integer()),
  steps: Type.Array(TerminateStep),
  released: Type.Object({
    sandbox: Type.Boolean({ description: 'False if it had already ended.' }),
    keptVolume: Nullable(Type.String({
      description: 'The volume, which is kept. Modal stores what was written to it every few seconds and at the end, and ' +
        'reports no failure of that; local mode does, and then this request fails.'
    }))
  })
})
export type Termination = Static<typeof Termination>
