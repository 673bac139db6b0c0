import t from 'tap'
import { skip, startService } from '../helpers/service.js'

const sandboxes = '/api/modal/sandbox'

t.test('changes', { skip }, async (t) => {
  const service = await startService()
  t.teardown(async () => service.close())
  const open = async (workdir: string) => {
    const created = await service.request(sandboxes, { method: 'POST', json: { volume: { name: 'changes' }, workdir } })
    const { id } = await created.json() as { id: string }
    const root = `${sandboxes}/${id}/changes`
    return {
      root,
      sh: async (script: string) => {
        const response = await service.request(`${sandboxes}/${id}/exec`, {
          method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
        })
        const { stdout, stderr } = await response.json() as { stdout: string, stderr: string }
        return stdout + stderr
      },
      status: async () => await (await service.request(root)).json() as any,
      diff: async (fields: Record<string, string>) => {
        const response = await service.request(`${root}/diff?${new URLSearchParams(fields)}`)
        return { status: response.status, ...await response.json() as any }
      },
      post: async (action: string, json: unknown) => {
        const response = await service.request(`${root}/${action}`, { method: 'POST', json })
        return { status: response.status, ...await response.json() as any }
      }
    }
  }
  const { root, sh, status, diff, post } = await open('/workspace/app')
  const as = 'git -c user.name=Ada -c user.email=ada@example.com'

  await t.test('A workdir without a repository is said to have none', async (t) => {
    t.strictSame(await status(), { repository: false, reason: 'none' })
    t.match(await post('commit', { message: 'x' }), { status: 409, code: 'NO_REPOSITORY' })
    t.match(await diff({ path: 'x' }), { status: 409, code: 'NO_REPOSITORY' })
  })

  await t.test('The first commit of a new repository is staged, made and named, with an author who says where it comes from', async (t) => {
    await sh('git init -q -b main; printf "one\\ntwo\\n" > a.txt; mkdir .claude-sandbox; : > .claude-sandbox/own')
    t.strictSame(await status(), {
      repository: true,
      root: '/workspace/app',
      branch: 'main',
      commit: null,
      branches: [],
      staged: [],
      changed: [],
      untracked: [{ path: 'a.txt', kind: 'untracked' }],
      truncated: false
    }, 'Claude\'s own directory is no change')
    t.match(await post('commit', { message: 'Too early' }), { status: 409, code: 'NOTHING_STAGED' })
    t.match(await post('stage', { paths: ['a.txt'] }), { status: 200 })
    t.match(await status(), { staged: [{ path: 'a.txt', kind: 'added' }], untracked: { length: 0 } })
    t.match(await post('unstage', { paths: ['a.txt'] }), { status: 200 })
    t.match(await status(), { staged: { length: 0 }, untracked: [{ path: 'a.txt' }] })
    await post('stage', { paths: ['a.txt'] })
    const { commit } = await post('commit', { message: '  Begin\n\n# not a comment\n' })
    t.equal(await sh('git log --format="%H %an <%ae> %cn|%B"'),
      `${commit} Modal Sandbox <sandbox@localhost> Modal Sandbox|  Begin\n\n# not a comment\n\n`)
    t.match(await status(), { commit, branches: ['main'], staged: { length: 0 }, untracked: { length: 0 } })
  })

  await t.test('A commit has the author that git is configured with', async (t) => {
    await sh('git config user.name Ada; git config user.email ada@example.com; echo three >> a.txt')
    await post('stage', { paths: ['a.txt'] })
    await post('commit', { message: 'Go on' })
    t.equal(await sh('git log -1 --format="%an <%ae>"'), 'Ada <ada@example.com>\n')
  })

  await t.test('Changes are listed by what has become of each file, whatever its name', async (t) => {
    await sh('for f in gone old kept; do seq 1 20 > $f; done; git add -A :/ && git commit -qm more')
    await sh('rm gone; git mv old "new name"; echo x >> kept; git add kept; echo y >> kept; printf z > "$(printf "line\\nbreak")"; printf u > ünï; printf d > -rf')
    const { staged, changed, untracked } = await status()
    t.strictSame(staged, [{ path: 'kept', kind: 'modified' }, { path: 'new name', kind: 'renamed', from: 'old' }])
    t.strictSame(changed, [{ path: 'gone', kind: 'deleted' }, { path: 'kept', kind: 'modified' }])
    t.strictSame(untracked.map(({ path }: any) => path), ['-rf', 'line\nbreak', 'ünï'])
    t.match(await post('stage', { paths: ['gone', '-rf', 'line\nbreak', 'ünï'] }), { status: 200 })
    t.match(await status(), { staged: { length: 6 }, untracked: { length: 0 } })
    t.match(await post('unstage', { paths: ['gone', '-rf', 'line\nbreak', 'ünï'] }), { status: 200 })
  })

  await t.test('The diff of a file is what is staged of it, or what is not', async (t) => {
    t.match(await diff({ path: 'kept', staged: 'true' }), { status: 200, staged: true, binary: false, truncated: false, diff: /@@ .* @@.*\n( .*\n)+\+x\n$/ })
    t.match(await diff({ path: 'kept' }), { diff: /\n x\n\+y\n$/ })
    t.match(await diff({ path: 'gone' }), { diff: /deleted file mode[^]*\n-20\n$/ })
    t.match(await diff({ path: '-rf' }), { diff: /new file mode[^]*\+d\n/ }, 'an untracked file is all new')
    t.match(await diff({ path: 'new name', from: 'old', staged: 'true' }), { diff: /^diff .*\nsimilarity index 100%\nrename from old\nrename to new name\n$/ })
    t.match(await diff({ path: 'a.txt' }), { status: 200, diff: '' })
    t.match(await diff({ path: 'missing' }), { status: 404, code: 'FILE_NOT_FOUND' })
    await sh('head -c 5000 /dev/urandom > noise; seq 1 200000 > long')
    t.match(await diff({ path: 'noise' }), { binary: true })
    const long = await diff({ path: 'long' })
    t.match(long, { truncated: true, diff: /\n\+\d+\n$/ }, 'a long one is cut after a line, and says so')
    t.ok(long.diff.length > 500_000 && long.diff.length <= 512 * 1024)
    await sh('rm noise long')
  })

  await t.test('No path leads out of the repository, and none is an option or a pattern', async (t) => {
    await sh('ln -s /etc etc; mkdir sub; : > sub/f')
    for (const path of ['../x', '/etc/passwd', 'sub/../../x']) t.match(await diff({ path }), { status: 403, code: 'PATH_FORBIDDEN' }, path)
    t.match(await diff({ path: 'etc/passwd' }), { status: 404 }, 'nor a link')
    t.match(await diff({ path: 'etc' }), { diff: /new file mode 120000[^]*\+\/etc\n/ }, 'which is shown itself')
    t.match(await diff({ path: 'sub' }), { status: 400, message: /path is a directory/ })
    t.match(await diff({ path: 'a//b' }), { status: 400, code: 'BAD_REQUEST', message: /querystring.path/ })
    t.match(await post('stage', { paths: ['a.txt', '../x'] }), { status: 403, message: /body.paths\/1/ })
    t.match(await post('stage', { paths: ['*.txt'] }), { status: 422, code: 'GIT_FAILED', message: /pathspec '\*\.txt' did not match/ })
    t.match(await post('stage', { paths: [':/'] }), { status: 422, message: /pathspec ':' did not match/ })
    t.match(await post('stage', { paths: ['etc/passwd'] }), { status: 422, message: /beyond a symbolic link/ })
    t.match(await post('stage', { paths: [] }), { status: 400, message: /body.paths/ })
    await sh('rm etc')
  })

  await t.test('A repository in it is staged by the name that it has in the list', async (t) => {
    await sh(`git init -q inner && cd inner && ${as} commit -q --allow-empty -m x`)
    t.match((await status()).untracked.filter(({ path }: any) => path.startsWith('inner')), [{ path: 'inner/' }])
    t.match(await diff({ path: 'inner/' }), { status: 400, message: /path is a directory/ })
    t.match(await post('stage', { paths: ['inner/'] }), { status: 200 })
    t.match((await status()).staged.filter(({ path }: any) => path.startsWith('inner')), [{ path: 'inner', kind: 'added' }])
    t.match(await post('unstage', { paths: ['inner/'] }), { status: 200 })
    await sh('rm -rf inner')
    t.match(await diff({ path: '/' }), { status: 403 })
    t.match(await diff({ path: 'a//' }), { status: 400, message: /querystring.path/ })
  })

  await t.test('A branch is made and switched to; what git would have to overwrite is named', async (t) => {
    t.match(await post('branch', { name: 'feature/ünï', create: true }), { status: 200 })
    t.match(await status(), { branch: 'feature/ünï', branches: ['feature/ünï', 'main'] })
    await sh(`git add -A; ${as} commit -qm work; echo mine >> kept`)
    t.match(await post('branch', { name: 'main' }), { status: 422, code: 'GIT_FAILED', message: /would be overwritten[^]*kept/ })
    await sh('git checkout -q kept')
    t.match(await post('branch', { name: 'main' }), { status: 200 })
    t.equal((await status()).branch, 'main')
    t.match(await post('branch', { name: 'nowhere' }), { status: 422, message: /invalid reference: nowhere/ })
    t.match(await post('branch', { name: 'main', create: true }), { status: 422, message: /already exists/ })
    for (const name of ['-', '--detach', '@{-1}', 'a b', 'a..b:c']) t.match(await post('branch', { name }), { status: 400, message: /body.name/ }, name)
    await sh('git checkout -q --detach')
    t.match(await status(), { branch: null, commit: /^[0-9a-f]{40}$/ })
    await sh('git checkout -q main')
  })

  await t.test('A conflict is named, and its diff has both sides', async (t) => {
    await sh(`git checkout -qb other; echo theirs > a.txt; ${as} commit -qam theirs; git checkout -q main; echo ours > a.txt; ${as} commit -qam ours; ${as} merge other`)
    t.match((await status()).changed, [{ path: 'a.txt', kind: 'conflicted' }])
    t.match(await diff({ path: 'a.txt' }), { diff: /ours[^]*theirs/ })
    t.match(await post('commit', { message: 'Too early' }), { status: 422, code: 'GIT_FAILED', message: /unmerged|not possible/ })
    await sh('git merge --abort')
  })

  await t.test('Nothing that the repository names is run: no hook, monitor, pager, diff program, editor or signature', async (t) => {
    await sh(`printf '#!/bin/sh\\ntouch /tmp/ran-$(basename $0)\\n' > /tmp/bad; chmod 755 /tmp/bad
      for hook in pre-commit prepare-commit-msg commit-msg post-commit post-checkout reference-transaction post-index-change; do cp /tmp/bad .git/hooks/$hook; done
      for key in core.fsmonitor core.pager pager.diff pager.status diff.external diff.evil.textconv diff.evil.command core.editor gpg.program; do git config $key /tmp/bad; done
      git config commit.gpgSign true; git config commit.verbose true; git config diff.noprefix true; git config color.ui always
      echo '* diff=evil' > .gitattributes; echo changed >> a.txt`)
    t.match(await status(), { changed: [{ path: 'a.txt' }] })
    t.match(await diff({ path: 'a.txt' }), { diff: /^diff --git a\/a.txt b\/a.txt\n[^]*\+changed\n$/ })
    t.match(await diff({ path: '.gitattributes' }), { diff: /\+\* diff=evil/ })
    await post('stage', { paths: ['a.txt', '.gitattributes'] })
    t.match(await diff({ path: 'a.txt', staged: 'true' }), { diff: /\+changed\n$/ })
    t.match(await post('commit', { message: 'Quietly' }), { commit: /^[0-9a-f]{40}$/ })
    t.match(await post('branch', { name: 'quiet', create: true }), { status: 200 })
    t.equal(await sh('ls /tmp | grep ran-'), '')
  })

  await t.test('More changes than fit are cut, and the list says so', async (t) => {
    await sh('mkdir many; cd many; n=$(printf "%0200d" 0); seq 1 4000 | while read i; do : > $i-$n; done')
    const { untracked, truncated } = await status()
    t.equal(truncated, true)
    t.ok(untracked.length > 1000 && untracked.length < 4000)
    t.ok(untracked.slice(1).every(({ path }: any) => path.length > 200), 'no name is shown in part')
    await sh('rm -r many')
  })

  await t.test('A repository above the workdir counts if it is on the volume, and none beyond', async (t) => {
    const inner = await open('/workspace/app/deep/er')
    t.match(await inner.status(), { repository: true, root: '/workspace/app' }, 'which is mounted at /workspace')
    const sly = await open('/workspace/sly')
    await sly.sh('git init -q; git config core.worktree /etc')
    t.strictSame(await sly.status(), { repository: false, reason: 'none' })
    t.match(await sly.post('stage', { paths: ['passwd'] }), { status: 409, code: 'NO_REPOSITORY' })
  })

  await t.test('Two programs that change the index at once are told apart', async (t) => {
    await sh('echo again >> a.txt; : > .git/index.lock')
    t.match(await status(), { changed: [{ path: 'a.txt' }] }, 'looking needs no lock')
    t.match(await post('stage', { paths: ['a.txt'] }), { status: 422, code: 'GIT_FAILED', message: /index\.lock/ })
    await sh('rm .git/index.lock')
  })

  await t.test('Another account finds nothing', async (t) => {
    t.equal((await service.request(root, { as: 'bob' })).status, 404)
  })
})
