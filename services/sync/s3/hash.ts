import { createHash, createHmac, type Hash as NodeHash } from 'node:crypto'

/** What the signer wants of a hash. */
export class Sha256 {
  readonly #hash: NodeHash

  constructor (secret?: string | Uint8Array | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined
      ? createHash('sha256')
      : createHmac('sha256', secret as Uint8Array) as unknown as NodeHash
  }

  update (data: string | Uint8Array | ArrayBuffer | ArrayBufferView) {
    this.#hash.update(data as Uint8Array)
  }

  async digest (): Promise<Uint8Array> {
    return this.#hash.digest()
  }

  reset () {}
}
