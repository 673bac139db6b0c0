import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const author = ['-c', 'user.name=Ann', '-c', 'user.email=ann@example.com', '-c', 'init.defaultBranch=main', '-c', 'commit.gpgsign=false']

/** Git's own server behind HTTP on loopback, with one repository: two commits on `main`, one more on `other`. */
export async function startGitServer ({ token }: { token?: string } = {}) {
  const root = await mkdtemp(join(tmpdir(), 'git-server-'))
  const work = join(root, 'work')
  await mkdir(work)
  const git = async (...args: string[]) => await run('git', [...author, '-C', work, ...args])
  const commit = async (name: string, text: string) => {
    await writeFile(join(work, name), text)
    await git('add', '-A')
    await git('commit', '-qm', `Add ${name}`)
  }
  await git('init', '-q')
  await commit('first.txt', 'one')
  await commit('second.txt', 'two')
  await git('checkout', '-qb', 'other')
  await commit('third.txt', 'three')
  await git('checkout', '-q', 'main')
  await run('git', ['clone', '-q', '--bare', work, join(root, 'project.git')])

  const seen: string[] = []
  const server = createServer((request, answer) => {
    seen.push(`${request.method} ${request.url}`)
    const expected = `Basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`
    if (token !== undefined && request.headers.authorization !== expected) {
      answer.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end()
      return
    }
    backend(root, request, answer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/project.git`,
    seen,
    async close () {
      server.closeAllConnections()
      server.close()
      await rm(root, { recursive: true })
    }
  }
}

/** Whether there is git with its server. */
export const noGit = hasServer() ? false : 'git is not installed, or without its http-backend'

function hasServer (): boolean {
  try {
    return execFileSync('sh', ['-c', 'test -x "$(git --exec-path)/git-http-backend" && echo yes']).length > 0
  } catch {
    return false
  }
}

/** A CGI program: headers and an empty line, then the body. */
function backend (root: string, request: IncomingMessage, answer: ServerResponse) {
  const [path, query = ''] = request.url!.split('?')
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      PATH_INFO: path,
      QUERY_STRING: query,
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? '')
    },
    stdio: ['pipe', 'pipe', 'inherit']
  })
  request.pipe(child.stdin)
  child.stdin.on('error', () => {})
  let head = Buffer.alloc(0)
  const begin = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) return
    child.stdout.off('data', begin)
    const headers = head.toString('latin1', 0, end).split('\r\n').map((line) => line.split(': ') as [string, string])
    const status = headers.find(([name]) => name === 'Status')?.[1]
    answer.writeHead(Number.parseInt(status ?? '200', 10), Object.fromEntries(headers.filter(([name]) => name !== 'Status')))
    answer.write(head.subarray(end + 4))
    child.stdout.pipe(answer)
  }
  child.stdout.on('data', begin)
}
