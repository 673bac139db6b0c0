import { access } from 'node:fs/promises'
import type { Container, ContainerRuntime, SelfTest } from './types.js'

/** Starts a container, runs a command in it and stops it; says in one line that this works, or why not. */
export async function selfTest (runtime: Pick<ContainerRuntime, 'mode' | 'start'> & { name: string }): Promise<SelfTest> {
  const { mode, name } = runtime
  try {
    const container = await runtime.start({
      id: 'self-test', rootfs: { base: { kind: 'local' }, layers: [] }, volumes: [], env: { PATH: '/usr/bin:/bin' }, workdir: '/tmp', command: [], network: 'open'
    })
    let usable: boolean
    try {
      const script = 'echo works > /tmp/file && cat /tmp/file && [ "$(cat /proc/1/comm)" ] && ! ls /proc/$PPID/root'
      if (!(await output(container, script)).startsWith('works')) throw new Error('a command in it printed nothing')
      usable = (await output(container, 'ls -d / && stat / > /dev/null')).startsWith('/')
    } finally {
      await container.stop()
    }
    const message = `containers work: ${name} as ${mode === 'root' ? 'root' : 'an ordinary user'}`
    return { ok: true, usable, mode, message: usable ? message : `${message}; but the machine's own ls and stat fail in them` }
  } catch (error) {
    return { ok: false, usable: false, mode, message: `containers do not work here: ${(error as Error).message}. ${await advice(String((error as Error).message))}` }
  }
}

async function output (container: Container, script: string): Promise<string> {
  const process = await container.exec({ command: ['/bin/sh', '-c', script] })
  let output = ''
  for await (const chunk of process.stdout.read(0)) output += chunk.toString()
  return output
}

async function advice (message: string): Promise<string> {
  if (/unshare failed/.test(message) && await access('/.dockerenv').then(() => true, () => false)) {
    return 'Docker forbids namespaces: run the container with --privileged, or set Modal credentials.'
  }
  if (/unshare failed/.test(message)) {
    return 'Unprivileged user namespaces are off: run as root, or allow them (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0).'
  }
  if (/overlay/.test(message)) return 'DATA_DIR must not be on an overlay file system: point it at a volume or a plain disk.'
  return 'Run as root, or set Modal credentials.'
}
