import t from 'tap'
import { parseStatus } from '../../../services/changes/status.js'

const commit = 'a'.repeat(40)
const about = `# branch.oid ${commit}\0# branch.head main\0# branch.upstream origin/main\0# branch.ab +2 -1\0`
const fields = 'N... 100644 100644 100644 1111 2222'
const status = (records: string, branches = 'main\nother\n') => `/workspace\0${branches}\0${records}`

t.test('What git says is read whole: branch, upstream, and what has become of each file', async (t) => {
  const records = [`1 .M ${fields} a b`, `2 R. ${fields} R100 new\nname`, 'old name', 'u UU N... 1 2 3 4 a b c mine',
    `1 MD ${fields} both`, '? -x', ''].join('\0')
  t.strictSame(parseStatus(status(about + records)), {
    repository: true,
    root: '/workspace',
    branch: 'main',
    commit,
    branches: ['main', 'other'],
    upstream: 'origin/main',
    ahead: 2,
    behind: 1,
    staged: [{ path: 'new\nname', kind: 'renamed', from: 'old name' }, { path: 'both', kind: 'modified' }],
    changed: [{ path: 'a b', kind: 'modified' }, { path: 'mine', kind: 'conflicted' }, { path: 'both', kind: 'deleted' }],
    untracked: [{ path: '-x', kind: 'untracked' }],
    truncated: false
  })
})

t.test('Of an answer that was cut, what is there in part is left out', async (t) => {
  const { untracked, staged, truncated } = parseStatus(status(`${about}? whole\0? in pa`), { cut: true })
  t.match({ untracked, staged, truncated }, { untracked: [{ path: 'whole' }], staged: { length: 0 }, truncated: true })
  t.match(parseStatus(status(`2 R. ${fields} R100 new\0ol`), { cut: true }).staged, [{ path: 'new', kind: 'renamed' }])
})

t.test('Anything else that a sandbox says is an error, not a list', async (t) => {
  const answers = ['', 'hello', 'workspace\0main\0', status('? not ended'), status('1 XY a\0'), status(`1 .Q ${fields} a\0`),
    status('! ignored\0'), status(`2 R. ${fields} R100 new\0`), status('# branch.ab many\0'), status('?\0'), status('\0')]
  for (const answer of answers) t.throws(() => parseStatus(answer), { code: 'GIT_FAILED', message: /did not answer as expected/ }, JSON.stringify(answer))
})

t.test('A header that is not known is no reason to fail', async (t) => {
  t.match(parseStatus(status('# stash 3\0# branch.oid (initial)\0# branch.head (detached)\0')), { commit: null, branch: null })
})
