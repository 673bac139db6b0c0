import { chmod, mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hostTool, runOnHost } from '../host.js'

/** Debian 12's version. It refuses AT_NO_AUTOMOUNT (EINVAL), with which coreutils asks for files since 9.1. */
const lastThatNeedsThem = 20221219

/** Whether this gVisor is so old that the machine's own `ls` and `stat` fail on it. */
export async function needsSubstitutes (runsc: string): Promise<boolean> {
  const { stdout } = await runOnHost(runsc, '--version')
  const [date] = /\b20\d{6}\b/.exec(stdout) ?? []
  return date !== undefined && Number(date) <= lastThatNeedsThem
}

/**
 * Makes a layer for `/usr` whose /usr/local/bin has a `stat` that asks without that flag, as GNU's does with this
 * option, and busybox's `ls`, if the machine has busybox.
 */
export async function makeSubstitutes (directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true })
  const bin = join(directory, 'local', 'bin')
  await mkdir(bin, { recursive: true })
  await writeFile(join(bin, 'stat'), '#!/bin/sh\nexec /usr/bin/stat --cached=never "$@"\n')
  await chmod(join(bin, 'stat'), 0o755)
  const busybox = await hostTool('busybox').catch(() => undefined)
  if (busybox !== undefined) await symlink(busybox, join(bin, 'ls'))
}
