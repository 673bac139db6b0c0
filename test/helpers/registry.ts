import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { removeTree } from '../../emulator/container/host.js'
import { eventually } from './containers.js'
import { sha256, type TestImage } from './oci-image.js'
import { freePort } from './port.js'

export interface Account { username: string, password: string }

/** What a registry was asked for. */
export interface Asked { path: string, authorization: string | undefined, range: string | undefined }

interface StandInOptions {
  /** By repository and tag: `app:1`. */
  images: Record<string, TestImage>
  /** Who may pull; by default everybody. */
  account?: Account
  /** How accounts sign in. */
  scheme?: 'Basic' | 'Bearer'
  /** Answers in place of the registry. @returns whether it has */
  instead?: (asked: Asked, response: ServerResponse) => boolean
}

const basicOf = ({ username, password }: Account) => `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`

/** A registry on loopback that can misbehave. */
export async function standInRegistry (t: Test, { images, account, scheme = 'Basic', instead }: StandInOptions) {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    const now = { path: request.url!, authorization: request.headers.authorization, range: request.headers.range }
    asked.push(now)
    if (instead?.(now, response) !== true) answer(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  t.teardown(() => { server.closeAllConnections(); server.close() })

  function answer ({ url, headers }: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(url!, `http://${host}`)
    const send = (status: number, body: string | Buffer, more: Record<string, string> = {}) => {
      response.writeHead(status, more).end(body)
    }
    const isSignedIn = account === undefined || headers.authorization === basicOf(account)
    if (pathname === '/token') {
      const isRight = isSignedIn && searchParams.get('service') === 'stand-in'
      return isRight ? send(200, JSON.stringify({ token: `for:${searchParams.get('scope')}` })) : send(401, '{}')
    }
    const [, repository, kind, name] = /^\/v2\/(.+)\/(manifests|blobs)\/(.+)$/.exec(pathname) ?? []
    const isAllowed = scheme === 'Basic' ? isSignedIn : headers.authorization === `Bearer for:repository:${repository}:pull`
    if (!isAllowed) {
      const challenge = scheme === 'Basic' ? 'Basic realm="stand-in"' : `Bearer realm="http://${host}/token",service="stand-in",scope="repository:${repository}:pull,push"`
      return send(401, '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}', { 'www-authenticate': challenge })
    }
    const [, image] = Object.entries(images).find(([tag, { blobs }]) =>
      tag === `${repository}:${name}` || (tag.startsWith(`${repository}:`) && blobs.has(name!))) ?? []
    const data = image?.blobs.get(kind === 'manifests' && !name!.startsWith('sha256:') ? image.manifest.digest : name!)
    if (data === undefined) return send(404, '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
    const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0)
    if (from > 0) send(206, data.subarray(from), { 'content-range': `bytes ${from}-${data.length - 1}/${data.length}` })
    else send(200, data, kind === 'manifests' ? { 'content-type': image!.manifest.mediaType } : {})
  }
  return { host, asked }
}

/** Why there is no registry of Docker's to test with. */
export const noRegistry = spawnSync('docker-registry', ['--version']).status === 0 ? false : 'docker-registry is not installed'

/** The registry that Docker distributes, on loopback, for one account. */
export async function dockerRegistry (t: Test, account: Account) {
  const directory = await mkdtemp(join(tmpdir(), 'registry-'))
  const host = `127.0.0.1:${await freePort()}`
  const hash = execFileSync('perl', ['-e', 'print crypt(<STDIN>, q($2y$05$abcdefghijklmnopqrstuu))'], { input: account.password })
  await writeFile(join(directory, 'passwords'), `${account.username}:${hash}\n`)
  await writeFile(join(directory, 'config.yml'), `version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: ${directory}/data } }
http: { addr: '${host}' }
auth: { htpasswd: { realm: test, path: ${directory}/passwords } }
`)
  const server = spawn('docker-registry', ['serve', join(directory, 'config.yml')], { stdio: 'ignore' })
  t.teardown(async () => {
    server.kill()
    await removeTree(directory)
  })
  const headers = { authorization: basicOf(account) }
  await eventually(async () => await fetch(`http://${host}/v2/`, { headers }).then(({ ok }) => ok, () => false))

  async function push (repository: string, tag: string, { blobs, manifest }: TestImage): Promise<void> {
    const send = async (method: string, url: string, body?: Buffer, type = 'application/octet-stream') => {
      const response = await fetch(new URL(url, `http://${host}`), { method, headers: { ...headers, 'content-type': type }, ...body && { body: new Uint8Array(body) } })
      if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`)
      return response
    }
    for (const [digest, data] of blobs) {
      if (digest === manifest.digest) continue
      const started = await send('POST', `/v2/${repository}/blobs/uploads/`)
      const location = new URL(started.headers.get('location')!, `http://${host}`)
      location.searchParams.set('digest', sha256(data))
      await send('PUT', location.href, data)
    }
    await send('PUT', `/v2/${repository}/manifests/${tag}`, blobs.get(manifest.digest), manifest.mediaType)
  }
  return { host, push }
}
