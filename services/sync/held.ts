/** Bytes that a mover has fetched and keeps, to be written where it is. */
export class Held {
  readonly number: number
  readonly length: number

  constructor (number: number, length: number) {
    this.number = number
    this.length = length
  }
}
