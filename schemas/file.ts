import { Type, type Static } from '@sinclair/typebox'
import { strict, Timestamp } from './common.js'

const FilePath = Type.String({
  minLength: 1,
  maxLength: 4096,
  pattern: '^[^\\u0000]*$',
  description: 'Absolute, or relative to the workdir. It must be in the workdir or on the volume.'
})

export const FilesQuery = Type.Object({
  path: Type.Optional(FilePath),
  since: Type.Optional({
    ...Timestamp,
    description: 'Lists the files below the path that were written since then, except those in .git, node_modules ' +
      'and Claude\'s own directory.'
  })
}, strict)

export const FileQuery = Type.Object({ path: FilePath }, strict)

/** For a file that somebody edits: it must still be the one that was read. */
export const WriteHeaders = Type.Object({
  'if-match': Type.Optional(Type.String({
    pattern: '^"[0-9a-f]{64}"$',
    description: 'The etag that the file was read with, which files up to 1 MiB have. If it has changed since: 412 FILE_CHANGED.'
  }))
})

export const FileEntry = Type.Object({
  name: Type.String({ description: 'With since: the path relative to the requested one.' }),
  path: Type.String(),
  type: Type.Union([Type.Literal('file'), Type.Literal('directory'), Type.Literal('symlink'), Type.Literal('other')]),
  size: Type.Integer({ description: 'Bytes.' }),
  mode: Type.String({ description: 'Permissions in octal.' }),
  modifiedAt: Timestamp,
  target: Type.Optional(Type.String({ description: 'The target of a symlink.' }))
})
export type FileEntry = Static<typeof FileEntry>

export const FileListing = Type.Object({
  path: Type.String({ description: 'Absolute.' }),
  entries: Type.Array(FileEntry),
  truncated: Type.Boolean({ description: 'Whether entries were left out.' })
})
export type FileListing = Static<typeof FileListing>
