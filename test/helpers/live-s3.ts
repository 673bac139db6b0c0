import { withDeadline } from '../../services/modal/call.js'
import { runCommand, SandboxProcess } from '../../services/modal/process.js'
import { startCeph, type CephHost } from './ceph.js'
import { startLiveSandbox } from './live-sandbox.js'
import { freePort } from './port.js'
import { cephServer, type S3Server } from './s3.js'

const minute = 60_000
const folder = '/srv/ceph'
/** With a compiler of 600 KB. */
const packages = 'ceph-mon ceph-osd radosgw tcc'
/**
 * radosgw ends itself when it can't name a thread, for which libc writes to `/proc/self/task/TID/comm`. gVisor refuses
 * that, so there a library takes the place of that function. Elsewhere radosgw runs without it, too.
 */
const library = `${folder}/no-thread-names.so`
const prepare = `mkdir -p ${folder} && cd ${folder} || exit
compiler=$(command -v tcc || command -v cc) || exit 0
echo 'int pthread_setname_np(void) { return 0; }' > no-thread-names.c
"$compiler" -shared -nostdlib -fPIC -o ${library} no-thread-names.c`
const withLibrary = `[ ! -e ${library} ] || export LD_PRELOAD=${library}; exec "$@"`

/** Ceph was put into a sandbox, and did not start there. */
export class NoCeph extends Error {
  override name = 'NoCeph'
}

/**
 * Ceph's S3 gateway where sandboxes of Modal reach it: in one of their own, behind a tunnel.
 * @param options.memoryMiB what all objects together may take.
 * @throws {NoCeph} when Ceph does not run in a sandbox, within six minutes after that was created.
 * @throws {AppError} when Modal gives no such sandbox.
 */
export async function startLiveS3 ({ memoryMiB = 1024 }: { memoryMiB?: number } = {}): Promise<S3Server> {
  // On Modal any port would do, but sandboxes of the emulator may share the ports of their machine.
  const [port, monitorPort] = [await freePort(), await freePort()]
  const { sandbox, url, close } = await startLiveSandbox({
    name: 's3',
    // The machine of an emulator has Ceph installed.
    image: ({ images }) => process.env.CLAUDE_IMAGE === 'local'
      ? images.fromRegistry('local')
      : images.fromRegistry('debian:12-slim').dockerfileCommands([
        `RUN apt-get update && apt-get install -y --no-install-recommends ${packages} && rm -rf /var/lib/apt/lists/*`]),
    port,
    cpu: 1,
    memoryMiB: memoryMiB + 1024
  })
  const daemons: SandboxProcess[] = []
  const stop = async () => {
    for (const daemon of daemons) daemon.release()
    await close()
  }
  const host: CephHost = {
    folder,
    async run (command, stdin = '') {
      const all = ['sh', '-c', withLibrary, 'sh', ...command]
      const { exitCode, stdout, stderr } = await runCommand(sandbox, command[0]!, all, {
        stdin, timeoutMs: 6 * minute, limit: 2 ** 20
      })
      if (exitCode !== 0) throw new Error(`${command[0]} ended with ${exitCode}: ${stderr.slice(0, 1000)}`)
      return stdout.toString()
    },
    async daemon (command) {
      let ended = false
      const script = `exec > /dev/null 2>&1; ${withLibrary}`
      const daemon = await SandboxProcess.start(sandbox, ['sh', '-c', script, 'sh', ...command], { step: command[0]! })
      daemons.push(daemon)
      daemon.exit().catch(() => {}).finally(() => { ended = true })
      return { hasEnded: () => ended }
    }
  }
  try {
    const ceph = await withDeadline(6 * minute, async () => {
      await host.run(['sh', '-c', prepare])
      return await startCeph(host, { address: '0.0.0.0', port, monitorPort, memoryMiB, endpoint: url })
    })
    return cephServer(url, ceph, stop)
  } catch (cause) {
    await stop().catch(() => {})
    throw new NoCeph(`Ceph does not run in a sandbox: ${(cause as Error).message}`, { cause })
  }
}
