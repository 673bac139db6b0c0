import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { startProblem } from '../../lib/start-problem.js'
import { startProcess } from '../helpers/processes.js'
import { loader, unmeasured } from '../helpers/spawn-node.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const programs = [
  // Its own check of this machine is through, too: closing waits for it.
  { name: 'the service', file: 'server.ts', started: /(?=[^]*signs this browser in)(?=[^]*containers (do not )?work)/ },
  { name: 'the emulator', file: 'emulator/main.ts', started: /MODAL_TOKEN_SECRET=/ }
]
// The check of gVisor may take longer than closing waits.
const settings = { PORT: '0', EMULATOR_PORT: '0', HOME: '/nonexistent', EMULATOR_RUNTIME: 'namespaces' }
const asUser = ['--reuid', '12345', '--regid', '12345', '--clear-groups']

async function directory (t: Test) {
  const path = await mkdtemp(join(tmpdir(), 'process-test-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A program on a terminal of its own. */
async function onTerminal (t: Test, { file, started }: typeof programs[number]) {
  const dataDir = await directory(t)
  const exited = join(dataDir, 'exit-code')
  const hook = `data:text/javascript,import { writeFileSync } from "node:fs"; process.on("exit", (code) => writeFileSync("${exited}", String(code)))`
  const command = `echo pid=$$=; exec ${process.execPath} --import ${loader} --import '${hook}' ${file}`
  const terminal = spawn('script', ['-qfec', command, '/dev/null'], {
    cwd: root,
    // Its input stays open: at its end, `script` would end the program.
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, SHELL: '/bin/sh', DATA_DIR: dataDir, ...settings, ...unmeasured }
  })
  let output = ''
  terminal.stdout.on('data', (chunk) => { output += chunk })
  await until(() => started.test(output), () => output)
  const pid = Number(/pid=(\d+)=/.exec(output)![1])
  t.teardown(() => { try { process.kill(pid, 'SIGKILL') } catch {} })
  return {
    pid,
    async close () {
      terminal.kill('SIGKILL')
      await once(terminal, 'exit')
    },
    async ended () {
      await until(() => !existsSync(`/proc/${pid}`), () => 'it is still running')
      return await readFile(exited, 'utf8')
    }
  }
}

async function until (done: () => boolean, problem: () => string) {
  for (const deadline = Date.now() + 60_000; !done();) {
    if (Date.now() > deadline) throw new Error(problem())
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** The processes that have a text in their environment. */
function processesOf (environment: string) {
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(environment)
    } catch {
      return false
    }
  })
}

for (const program of programs) {
  t.test(`Closing the terminal ends ${program.name}`, async (t) => {
    const { close, ended } = await onTerminal(t, program)
    await close()
    t.equal(await ended(), '0')
  })
}

t.test('SIGTERM to npm run emulator leaves no process', async (t) => {
  const dataDir = await directory(t)
  const npm = spawn('npm', ['run', '--silent', 'emulator'], {
    cwd: root, env: { PATH: process.env.PATH, DATA_DIR: dataDir, ...settings, ...unmeasured }, stdio: ['ignore', 'pipe', 'ignore']
  })
  let output = ''
  npm.stdout.on('data', (chunk) => { output += chunk })
  await until(() => /TOKEN_SECRET=/.test(output), () => output)
  npm.kill('SIGTERM')
  await once(npm, 'exit')
  t.strictSame(processesOf(dataDir), [])
})

t.test('With too few files the service says what it needs, and nothing else', async (t) => {
  // As built: a loader for TypeScript would fail before it.
  const built = t.testdir({ lib: {}, 'package.json': '{"type":"module"}' })
  for (const file of ['server', 'lib/closing', 'lib/start-problem']) {
    const { outputText } = ts.transpileModule(readFileSync(join(root, `${file}.ts`), 'utf8'), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true }
    })
    await writeFile(join(built, `${file}.js`), outputText)
  }
  const child = spawn('sh', ['-c', `ulimit -n 64; exec ${process.execPath} server.js`], {
    cwd: built, env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'pipe']
  })
  const [output, complaint, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
  t.equal(code, 1)
  t.equal(output, '')
  t.match(complaint, /^This process may open 64 files, and needs 256 or more\. Raise the limit: `ulimit -n 4096`.*\n$/)
})

t.test('Whatever keeps it from starting is one sentence, without a stack', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const port = String((taken.address() as AddressInfo).port)
  const there = await directory(t)
  await mkdir(join(there, 'broken'))
  await writeFile(join(there, 'broken', 'state.json'), '{"half')
  await writeFile(join(there, 'file'), '')
  const cases: [string, string, Record<string, string>, RegExp][] = [
    ['its port is taken', 'server.ts', { PORT: port }, /^Port \d+ of 127\.0\.0\.1 is in use\. .*\n$/m],
    ['its host is not here', 'server.ts', { HOST: '203.0.113.1' }, /^The address 203\.0\.113\.1 .*Correct HOST\.\n$/m],
    ['its data directory is a file', 'server.ts', { DATA_DIR: join(there, 'file') }, /^\S+ cannot be written \(EEXIST\)\. .*DATA_DIR.*\n$/m],
    ['its state is broken', 'server.ts', { DATA_DIR: join(there, 'broken') }, /^reading the emulator's state \(.*\) failed: .*\n$/m],
    ['a setting is wrong', 'server.ts', { PORT: 'many' }, /^The configuration is not valid:\n {2}- PORT .*\n$/m],
    ['a port is taken', 'emulator/main.ts', { EMULATOR_PORT: port }, /^binding the emulator .* failed: choose another port\.\n$/m],
    ['a setting is wrong', 'emulator/main.ts', { LOG_LEVEL: 'loud' }, /^LOG_LEVEL must be one of .*\n$/m]
  ]
  for (const [when, file, env, sentence] of cases) {
    const child = startProcess(file, { ...settings, LOG_LEVEL: file === 'server.ts' ? 'error' : 'warn', DATA_DIR: join(there, 'data'), ...env })
    const [code] = await child.exited
    t.equal(code, 1, `${file}: ${when}`)
    t.match(child.output(), sentence)
    t.notMatch(child.output(), /^ {4}at |node:internal/m)
  }
  const first = startProcess('emulator/main.ts', { ...settings, DATA_DIR: join(there, 'data') })
  await first.said(/TOKEN_SECRET=/)
  const second = startProcess('emulator/main.ts', { ...settings, DATA_DIR: join(there, 'data') })
  t.equal((await second.exited)[0], 1)
  t.match(second.output(), /^Another emulator uses the data directory .*DATA_DIR.*\n$/)
  await first.stop()
})

t.test('A disk, a user or a limit that is in the way is told in words', async (t) => {
  const system = (fields: object) => Object.assign(new Error('system'), fields)
  t.match(startProblem(system({ code: 'ENOSPC', syscall: 'write' })), /^No space is left on the disk of DATA_DIR\./)
  t.match(startProblem(new Error('outer', { cause: system({ code: 'EMFILE' }) })), /^Too many open files\. Raise the limit/)
  t.match(startProblem(system({ code: 'EACCES', syscall: 'open', path: '/data/x' })), /^\/data\/x cannot be written \(EACCES\)/)
  t.match(startProblem(system({ code: 'EACCES', syscall: 'listen', port: 80, address: '::' })), /^Port 80 of :: needs privileges/)
  t.match(startProblem(system({ code: 'ENOTFOUND', syscall: 'getaddrinfo' })), /Correct HOST/)
  t.equal(startProblem(new TypeError('a mistake of ours')), undefined, 'which is shown whole')
})

t.test('The service runs from a tree that it cannot write, as a user without any privileges', {
  skip: process.getuid!() !== 0 && 'only root can become another user'
}, async (t) => {
  const dataDir = await directory(t)
  execFileSync('chown', ['12345:12345', dataDir])
  const readable = spawn('setpriv', [...asUser, process.execPath, '-e', `fs.readFileSync(${JSON.stringify(join(root, 'server.ts'))})`], { stdio: 'ignore' })
  if ((await once(readable, 'exit'))[0] !== 0) return t.comment('that user may not read this directory')
  const none = ['--no-new-privs', '--bounding-set=-all', '--inh-caps=-all']
  // `env -i` also drops what tap adds to measure coverage, which that user could not write.
  const env = Object.entries({ PATH: process.env.PATH, DATA_DIR: dataDir, ...settings }).map(([name, value]) => `${name}=${value}`)
  const child = spawn('env', ['-i', ...env, 'setpriv', ...asUser, ...none, process.execPath, '--import', loader, 'server.ts'], {
    cwd: root, stdio: ['ignore', 'pipe', 'inherit']
  })
  let output = ''
  child.stdout.on('data', (chunk) => { output += chunk })
  await until(() => programs[0]!.started.test(output), () => output)
  const [, url] = /"msg":"open (http:\/\/[^"#/]+)/.exec(output)!
  const answer = await fetch(`${url}/healthz`)
  t.match({ status: answer.status, body: await answer.text() }, { status: 200 })
  child.kill('SIGTERM')
  t.equal((await once(child, 'exit'))[0], 0, output.slice(-600))
})

t.test('The Docker image has an ordinary user, and only the file for local mode asks for privileges', async (t) => {
  const read = (file: string) => readFileSync(join(root, file), 'utf8').replace(/^\s*#.*$/gm, '')
  const lastStage = read('Dockerfile').split(/^FROM /m).at(-1)!
  t.strictSame([...lastStage.matchAll(/^USER (.*)$/gm)].map(([, user]) => user), ['node'])
  t.match(lastStage, /^RUN install -d -o node .* \/data\nVOLUME \/data\nUSER node$/m)
  t.match(read('docker-compose.yml'), /cap_drop: \[ALL\]\n {4}security_opt: \["no-new-privileges:true"\]/)
  t.notMatch(read('docker-compose.yml'), /privileged:\s*true|user:|cap_add|pid:|network_mode|docker\.sock/)
  t.match(read('docker-compose.local.yml').trim(), /^services:\n {2}modal-sandbox:\n {4}privileged: true$/)
})
