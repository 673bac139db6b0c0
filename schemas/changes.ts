import { Type, type Static } from '@sinclair/typebox'
import { strict } from './common.js'

const ChangedPath = Type.String({
  minLength: 1,
  maxLength: 4096,
  pattern: '^[^\\u0000]*$',
  description: 'Relative to the root of the repository, as in the list of changes.'
})

/** What git allows in the name of a branch, and no option. */
const BranchName = Type.String({
  minLength: 1, maxLength: 200, pattern: '^(?!-)(?!.*@\\{)[^\\u0000-\\u0020~^:?*\\[\\\\\\u007f]+$'
})

export const Change = Type.Object({
  path: Type.String({ description: 'Relative to the root of the repository.' }),
  kind: Type.Union([
    Type.Literal('modified'), Type.Literal('added'), Type.Literal('deleted'), Type.Literal('renamed'),
    Type.Literal('copied'), Type.Literal('conflicted'), Type.Literal('untracked')
  ]),
  from: Type.Optional(Type.String({ description: 'The earlier path of a renamed or copied file.' }))
})
export type Change = Static<typeof Change>

export const Repository = Type.Object({
  repository: Type.Literal(true),
  root: Type.String({ description: 'Absolute.' }),
  branch: Type.Union([Type.String(), Type.Null()], { description: 'Null while a commit itself is checked out.' }),
  commit: Type.Union([Type.String(), Type.Null()], { description: 'Null before the first one.' }),
  upstream: Type.Optional(Type.String()),
  ahead: Type.Optional(Type.Integer({ description: 'Commits that the upstream does not have.' })),
  behind: Type.Optional(Type.Integer({ description: 'Commits of the upstream that this branch does not have.' })),
  branches: Type.Array(Type.String(), { description: 'The latest 200.' }),
  staged: Type.Array(Change, { description: 'What the next commit has.' }),
  changed: Type.Array(Change, { description: 'What has changed and is not staged.' }),
  untracked: Type.Array(Change, { description: 'Files that git does not know, except ignored ones.' }),
  truncated: Type.Boolean({ description: 'Whether changes were left out.' })
})
export type Repository = Static<typeof Repository>

export const Changes = Type.Union([
  Repository,
  Type.Object({
    repository: Type.Literal(false),
    reason: Type.Union([Type.Literal('none'), Type.Literal('no_git')], {
      description: 'There is no repository in the workdir or above it in the workspace, or the sandbox has no git.'
    })
  })
])
export type Changes = Static<typeof Changes>

export const DifferenceQuery = Type.Object({
  path: ChangedPath,
  staged: Type.Optional(Type.Boolean({ description: 'What is staged of it, instead of what is not.' })),
  from: Type.Optional({ ...ChangedPath, description: 'The earlier path of a renamed file, so that only its changes are shown.' })
}, strict)

export const Difference = Type.Object({
  path: Type.String(),
  staged: Type.Boolean(),
  diff: Type.String({ description: 'A unified diff; empty if nothing has changed.' }),
  binary: Type.Boolean(),
  truncated: Type.Boolean({ description: 'Whether lines at the end were left out: it has at most 512 KiB.' })
})
export type Difference = Static<typeof Difference>

export const ChangedPaths = Type.Object({
  paths: Type.Array(ChangedPath, { minItems: 1, maxItems: 10_000 })
}, strict)

export const CommitRequest = Type.Object({
  message: Type.String({ minLength: 1, maxLength: 65_536, pattern: '^[^\\u0000]*$' })
}, strict)

export const Commit = Type.Object({ commit: Type.String({ description: 'Its hash.' }) })
export type Commit = Static<typeof Commit>

export const BranchRequest = Type.Object({
  name: BranchName,
  create: Type.Optional(Type.Boolean({ description: 'Makes the branch, from the current commit.' }))
}, strict)
