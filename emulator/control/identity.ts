import { calculateJwkThumbprint, exportJWK, exportPKCS8, generateKeyPair, importPKCS8, SignJWT } from 'jose'
import { createPublicKey, randomUUID } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../lib/write-file-atomic.js'

const algorithm = 'RS256'
/** Not Modal's: nobody can take these tokens for real ones. */
const issuer = 'modal-emulator'
/** Modal's, so that what checks it needs no change. */
const audience = 'oidc.modal.com'

/** Whom a token is for. */
export interface Bearer {
  sandboxId: string
  taskId: string
  appId: string
  appName: string
  environment: string
  /** Seconds that it may live. */
  timeoutSecs: number
}

/**
 * Identity tokens (OIDC) of sandboxes, signed by a key of the emulator's own. `jwks.json` beside the key has the public
 * half, for what is to check them.
 */
export class Identity {
  readonly #directory: string
  #key: Promise<{ key: Awaited<ReturnType<typeof importPKCS8>>, kid: string }> | undefined

  constructor (directory: string) {
    this.#directory = directory
  }

  async token ({ sandboxId, taskId, appId, appName, environment, timeoutSecs }: Bearer): Promise<string> {
    this.#key ??= this.#open()
    const { key, kid } = await this.#key
    const claims = {
      environment_name: environment,
      app_id: appId,
      app_name: appName,
      sandbox_id: sandboxId,
      container_id: taskId
    }
    const subject = ['modal', 'environment_name', environment, 'app_name', appName, 'container_id', taskId].join(':')
    return await new SignJWT(claims).setProtectedHeader({ alg: algorithm, kid, typ: 'JWT' }).setIssuer(issuer)
      .setAudience(audience).setSubject(subject).setJti(randomUUID()).setIssuedAt().setExpirationTime(`${timeoutSecs}s`)
      .sign(key)
  }

  async #open () {
    const file = join(this.#directory, 'key.pem')
    const pem = await readFile(file, 'utf8').catch(() => undefined) ?? await this.#make(file)
    const jwk = await exportJWK(createPublicKey(pem))
    const kid = await calculateJwkThumbprint(jwk)
    const jwks = { keys: [{ ...jwk, kid, alg: algorithm, use: 'sig' }] }
    await writeFileAtomic(join(this.#directory, 'jwks.json'), JSON.stringify(jwks), 0o644)
    return { key: await importPKCS8(pem, algorithm), kid }
  }

  async #make (file: string): Promise<string> {
    const { privateKey } = await generateKeyPair(algorithm, { extractable: true })
    const pem = await exportPKCS8(privateKey)
    await mkdir(this.#directory, { recursive: true })
    await writeFileAtomic(file, pem, 0o600)
    return pem
  }
}
