import { Type, type Static } from '@sinclair/typebox'
import { strict, Timestamp } from './common.js'

export const Direction = Type.Union([Type.Literal('upload'), Type.Literal('download')])
export type Direction = Static<typeof Direction>

const VersionId = Type.String({ pattern: '^\\d{8}T\\d{9}Z-[0-9a-f]{4}$', description: 'A save, as listed.' })

/** What a client asks of a sync. */
export const SyncSpec = Type.Object({
  direction: Direction,
  dryRun: Type.Boolean({ default: false, description: 'Only say what would be done.' }),
  delete: Type.Boolean({
    default: false, description: 'Also remove on the other side what a sync has put there and is gone on this side.'
  }),
  version: Type.Optional(VersionId)
}, strict)
export type SyncSpec = Static<typeof SyncSpec>

const Count = (description: string) => Type.Integer({ minimum: 0, description })

export const SyncFailure = Type.Object({
  path: Type.String(),
  code: Type.String({ description: 'Stable: of S3, or of ours such as CHANGED, UNREADABLE, KEY_UNSAFE.' }),
  message: Type.String()
})

export const SyncReport = Type.Object({
  direction: Direction,
  files: Count('Copied.'),
  bytes: Count('Copied.'),
  skipped: Count('Not copied, as both sides have it.'),
  ignored: Count('Left out by rule, and sockets, pipes and devices.'),
  deleted: Count('Removed on the other side.'),
  kept: Count('Left alone at initialization, as the workspace has a newer one.'),
  durationMs: Type.Integer(),
  failed: Type.Array(SyncFailure),
  verified: Count('Proven to be on the other side, whole.'),
  dryRun: Type.Optional(Type.Boolean()),
  version: Type.Optional(VersionId)
})
export type SyncReport = Static<typeof SyncReport>

export const SyncProgress = Type.Object({
  phase: Type.Union(['list', 'transfer', 'delete', 'verify'].map((phase) => Type.Literal(phase))),
  files: Type.Integer(),
  totalFiles: Type.Integer(),
  bytes: Type.Integer(),
  totalBytes: Type.Integer(),
  bytesPerSecond: Type.Integer()
})
export type SyncProgress = Static<typeof SyncProgress>

export const SyncVersion = Type.Object({ version: VersionId, savedAt: Timestamp })
export type SyncVersion = Static<typeof SyncVersion>

export const LastSync = Type.Object({ direction: Direction, finishedAt: Timestamp, report: SyncReport })
export type LastSync = Static<typeof LastSync>

export const SyncState = Type.Object({
  active: Type.Boolean(),
  last: Type.Union([LastSync, Type.Null()]),
  versions: Type.Optional(Type.Array(SyncVersion, { description: 'Newest first; of a versioned workspace.' }))
})
export type SyncState = Static<typeof SyncState>
