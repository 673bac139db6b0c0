import t from 'tap'
import { withoutIgnored } from '../../../services/sync/ignore.js'
import { entry } from '../../helpers/entries.js'
import { LocalWorkspace } from '../../helpers/local-workspace.js'

t.test('What no session needs again is left out at its place only, files and directories each as what they are', async (t) => {
  const cli = '.claude-sandbox'
  const out = [`${cli}/.credentials.json`, `${cli}/.gitignore`, `${cli}/debug/`, `${cli}/debug/log`, `${cli}/ide/1.lock`, 'lost+found/', 'lost+found/x',
    '.nfs0001', 'a/.nfs/', 'a/.nfs/b', '.modal-sandbox-part-1', 'a/.modal-sandbox-part-2']
  const kept = [`${cli}/debug`, `${cli}/debugger/x`, `${cli}/.credentials.json2`, `${cli}/settings.json`, `a/${cli}/debug/x`, '.gitignore',
    'xclaude-sandbox/debug/x', 'lost+found', 'a/lost+found/', 'lostfound/', 'a.nfs', 'nfs', '.modal-sandbox-par', '.claude-sandbox/']
  const all = new Map([...out, ...kept].map((name) => {
    const path = name.replace(/\/$/, '')
    return [name, entry(path, { type: name.endsWith('/') ? 'directory' : 'file' })]
  }))
  t.strictSame([...(await withoutIgnored(new LocalWorkspace('/'), all)).wanted.keys()], kept)
})
