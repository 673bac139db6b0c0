import { Type, type Static } from '@sinclair/typebox'
import { ErrorAnswer, strict, Timestamp } from './common.js'
import { eventStream } from './operation.js'

export const Direction = Type.Union([Type.Literal('upload'), Type.Literal('download')])
export type Direction = Static<typeof Direction>

const VersionId = Type.String({
  pattern: '^\\d{8}T\\d{9}Z-[0-9a-f]{4}$', description: 'The id of a version, as listed by GET.'
})

/** A request for a sync. */
export const SyncSpec = Type.Object({
  direction: Direction,
  dryRun: Type.Boolean({ default: false, description: 'Only reports what would be done.' }),
  delete: Type.Boolean({
    default: false,
    description: 'Also deletes at the destination what an earlier sync copied and the source no longer has. ' +
      'A download leaves what an upload of another sandbox has deleted.'
  }),
  version: Type.Optional({ ...VersionId, description: 'The version to restore, as listed by GET; for downloads only.' })
}, strict)
export type SyncSpec = Static<typeof SyncSpec>

const Count = (description: string) => Type.Integer({ minimum: 0, description })

const SyncProblem = Type.Object({
  path: Type.String(),
  code: Type.String({ description: 'Stable: from S3, or of this service, such as CHANGED or UNREADABLE.' }),
  message: Type.String()
})

export const SyncReport = Type.Object({
  direction: Direction,
  files: Count('Files copied. What Claude keeps beside them (`.claude-sandbox/`) is copied, too, and counted nowhere.'),
  bytes: Count('Bytes copied.'),
  skipped: Count('Files that were up to date.'),
  ignored: Count('Files excluded by a rule, and sockets, pipes and devices.'),
  deleted: Count('Files deleted at the destination.'),
  kept: Count('Files not overwritten: the workspace had newer ones at initialization, or others have stored newer ones in S3.'),
  durationMs: Type.Integer(),
  failed: Type.Array(SyncProblem),
  warnings: Type.Optional(Type.Array(SyncProblem, {
    description: 'What cannot be had at the destination as it is at the source, and what to do; no failure, and nothing is lost.'
  })),
  verified: Count('Files verified to be complete at the destination.'),
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

export const SyncEvents = eventStream({ progress: SyncProgress, report: SyncReport, error: ErrorAnswer })

export const SyncVersion = Type.Object({ version: VersionId, savedAt: Timestamp })
export type SyncVersion = Static<typeof SyncVersion>

export const LastSync = Type.Object({ direction: Direction, finishedAt: Timestamp, report: SyncReport })
export type LastSync = Static<typeof LastSync>

export const SyncState = Type.Object({
  active: Type.Boolean(),
  last: Type.Union([LastSync, Type.Null()]),
  versions: Type.Optional(Type.Array(SyncVersion, { description: 'Of a versioned workspace, newest first.' }))
})
export type SyncState = Static<typeof SyncState>
