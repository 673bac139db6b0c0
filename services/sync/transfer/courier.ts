/** One request that its bearer may send, once or more, until it expires: as it is, with these headers and no others. */
export interface PresignedRequest { url: string, headers: Record<string, string> }

/** What S3 answered a courier, or the code of why it did not. */
export interface PresignedResponse {
  status?: number
  /** S3's own of a refusal, or one of a broken connection. */
  code?: string
  date?: string
  etag?: string
  /** SHA-256 of the body of a GET, which has as many bytes as was asked for, and what the object says about itself. */
  hash?: string
  metadata?: Record<string, string>
}

/** Sends a request from where the bytes are, or have to go. @throws {AgentUnavailable} */
export type SendPresigned<T extends PresignedResponse = PresignedResponse> = (permit: PresignedRequest) => Promise<T>

/** It will not send anything any more; others can. */
export class AgentUnavailable extends Error {
  constructor (message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'CourierLost'
  }
}

/** The files where it is are in the way, not S3. */
export class LocalFileError extends Error {
  /** @param code the file system's. */
  constructor (code: string) {
    super(code)
    this.name = 'CourierRefused'
  }
}
