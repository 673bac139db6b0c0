import { X509Certificate } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hostTool, runOnHost } from '../container/host.js'
import { sharedLoopback } from '../container/network.js'
import { unimplemented } from '../control/status.js'

export interface Certificate { cert: string, key: string }

const days = 800
const renewBeforeMs = 30 * 24 * 3600_000

/**
 * The certificate of encrypted tunnels, for {@link sharedLoopback}. It signs itself: who is to trust tunnels trusts
 * `certificate.pem`. It is kept, so that this is needed once.
 * @throws {StatusError} UNIMPLEMENTED without openssl
 */
export async function openCertificate (directory: string): Promise<Certificate> {
  const [certFile, keyFile] = [join(directory, 'certificate.pem'), join(directory, 'key.pem')]
  const read = async () => ({ cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') })
  const kept = await read().catch(() => undefined)
  if (kept && isGood(new X509Certificate(kept.cert))) return kept
  const openssl = await hostTool('openssl').catch(() => {
    throw unimplemented('ports need openssl, which makes the certificate of their tunnels; it is not installed')
  })
  await mkdir(directory, { recursive: true, mode: 0o700 })
  await runOnHost(openssl, 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
    '-days', String(days), '-subj', '/CN=Modal emulator', '-addext', `subjectAltName=IP:${sharedLoopback}`,
    '-addext', 'extendedKeyUsage=serverAuth', '-keyout', keyFile, '-out', certFile)
  return await read()
}

const isGood = (certificate: X509Certificate): boolean =>
  Date.parse(certificate.validTo) > Date.now() + renewBeforeMs && certificate.checkIP(sharedLoopback) !== undefined
