import { setTimeout as sleep } from 'node:timers/promises'

/** Where Ceph's programs run: this machine, or a sandbox. */
export interface CephHost {
  /** A directory for Ceph alone. */
  folder: string
  /** Runs a program to its end. @returns what it prints. @throws when it fails. */
  run: (command: string[], stdin?: string) => Promise<string>
  /** Starts a program that is to run as long as its host lets it. */
  daemon: (command: string[]) => Promise<Daemon>
}

export interface Daemon { hasEnded: () => boolean }

export interface Key { accessKeyId: string, secretAccessKey: string }

export interface CephOptions {
  /** Where the gateway listens. The rest is on loopback. */
  address: string
  port: number
  monitorPort: number
  /** What all objects together may take; beyond it writes fail. */
  memoryMiB: number
  /** Where the gateway answers this process: that is waited for, three minutes at most. */
  endpoint: string
}

/**
 * Starts Ceph's S3 gateway with one monitor and one OSD in memory, as root or any user.
 * @returns the key of its only user, and a way to get another one.
 * @throws {Error} with the ends of Ceph's logs.
 */
export async function startCeph (host: CephHost, options: CephOptions) {
  const { folder, run } = host
  const conf = `${folder}/ceph.conf`
  const [monmap, osdmap] = [`${folder}/monmap`, `${folder}/osdmap`]
  const user = async (...command: string[]) =>
    keysOf(await run(['radosgw-admin', '-c', conf, ...command, '--uid', 'test']))

  try {
    await run(['sh', '-c', 'cd "$1" && mkdir mon osd rgw crash && cat > ceph.conf', 'sh', folder], configuration(folder, options))
    await Promise.all([
      run(['monmaptool', '--create', '--addv', 'a', `[v2:127.0.0.1:${options.monitorPort}]`, monmap]),
      run(['osdmaptool', '--create-from-conf', osdmap, '-c', conf])
    ])
    await run(['ceph-mon', '-c', conf, '-i', 'a', '--mkfs', '--monmap', monmap, '--osdmap', osdmap])
    const monitor = await host.daemon(['ceph-mon', '-c', conf, '-f', '-i', 'a'])
    await run(['ceph-osd', '-c', conf, '-i', '0', '--mkfs'])
    const osd = await host.daemon(['ceph-osd', '-c', conf, '-f', '-i', '0'])
    const [key] = await user('user', 'create', '--display-name', 'test')
    const gateway = await host.daemon(['radosgw', '-c', conf, '-f', '-n', 'client.admin'])
    await answers(options.endpoint, [monitor, osd, gateway])
    return {
      key: key!,
      async createKey (): Promise<Key> {
        const known = new Set((await user('user', 'info')).map(({ accessKeyId }) => accessKeyId))
        const keys = await user('key', 'create', '--gen-access-key', '--gen-secret')
        return keys.find(({ accessKeyId }) => !known.has(accessKeyId))!
      }
    }
  } catch (cause) {
    const logs = await run(['sh', '-c', 'cd "$1" && tail -c 1000 *.log', 'sh', folder]).catch(() => 'no logs')
    throw new Error(`The S3 server did not start: ${(cause as Error).message}\n${logs}`, { cause })
  }
}

/** Ceph makes keys itself, so that none is in an argument list. */
function keysOf (output: string): Key[] {
  const { keys } = JSON.parse(output) as { keys: { access_key: string, secret_key: string }[] }
  return keys.map((key) => ({ accessKeyId: key.access_key, secretAccessKey: key.secret_key }))
}

async function answers (endpoint: string, daemons: Daemon[]): Promise<void> {
  const deadline = Date.now() + 180_000
  const answer = async () => (await fetch(endpoint, { signal: AbortSignal.timeout(10_000) })).ok
  while (!await answer().catch(() => false)) {
    if (Date.now() > deadline) throw new Error(`no answer at ${endpoint} within three minutes`)
    if (daemons.some((daemon) => daemon.hasEnded())) throw new Error('a daemon ended')
    await sleep(25)
  }
}

/** Everything in one folder, no authentication but S3's own, one copy of each object. */
function configuration (folder: string, { address, port, monitorPort, memoryMiB }: CephOptions): string {
  return `[global]
fsid = 00000000-0000-4000-8000-000000000000
mon host = [v2:127.0.0.1:${monitorPort}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
run dir = ${folder}
admin socket =
crash dir = ${folder}/crash
log file = ${folder}/$name.log
mon data = ${folder}/mon
mon data avail crit = 1
mon data avail warn = 2
mon allow pool size one = true
mon osd nearfull ratio = .97
mon osd backfillfull ratio = .98
mon osd full ratio = .99
paxos propose interval = 0.02
paxos min wait = 0.01
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = ${memoryMiB * 2 ** 20}
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
rgw data = ${folder}/rgw
rgw frontends = beast endpoint=${address}:${port} tcp_nodelay=1
rgw run sync thread = false
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw gc processor max time = 5
[osd.0]
host = localhost
`
}
