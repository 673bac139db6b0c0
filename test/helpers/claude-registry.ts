import { spawn, spawnSync } from 'node:child_process'
import { createReadStream, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGzip } from 'node:zlib'
import type { Test } from 'tap'
import { findClaudeBinary } from '../../emulator/container/claude-binary.js'
import { freePort } from './port.js'

const cpu = process.arch === 'arm64' ? 'arm64' : 'x64'
const glibc = findClaudeBinary()

/** Why no program can be served: it comes with the optional packages of this repository. */
export const noClaude = glibc === undefined && 'Claude is not installed: its package for this machine is missing'

/**
 * An npm registry on loopback that has the CLI as npm installed it here, for glibc, and as npm has it for musl.
 * `asked` are the paths of its requests.
 */
export async function startClaudeRegistry (t: Test, version: string) {
  const asked: string[] = []
  const archives = await mkdtemp(join(tmpdir(), 'claude-registry-'))
  const name = `claude-code-linux-${cpu}`
  const musl = packed(`@anthropic-ai/${name}-musl@${version}`, archives)
  const server = createServer((request, response) => {
    asked.push(request.url!)
    if (request.url === `/@anthropic-ai/${name}/-/${name}-${version}.tgz`) {
      const tar = spawn('tar', ['-c', '--transform=s,^,package/,', '-C', join(glibc!, '..'), 'claude'])
      tar.stdout.pipe(createGzip({ level: 0 })).pipe(response)
    } else if (request.url === `/@anthropic-ai/${name}-musl/-/${name}-musl-${version}.tgz` && musl !== undefined) {
      createReadStream(musl).pipe(response)
    } else {
      response.writeHead(404).end()
    }
  })
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  t.teardown(async () => {
    server.close()
    await rm(archives, { recursive: true })
  })
  return { url: `http://127.0.0.1:${port}`, asked, noMusl: musl === undefined && 'npm cannot download the CLI for musl here' }
}

function packed (name: string, directory: string): string | undefined {
  const { status } = spawnSync('npm', ['pack', '--silent', '--pack-destination', directory, name], { stdio: 'ignore' })
  return status === 0 ? join(directory, readdirSync(directory)[0]!) : undefined
}
