export interface ReceivedEvent { event: string, id?: string, data: any }

/** Reads Server-Sent Events as a browser would; comments are left out. */
export async function * readSse (response: Response): AsyncGenerator<ReceivedEvent> {
  let rest = ''
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split('\n\n')
    rest = blocks.pop()!
    for (const block of blocks) {
      const fields = new Map(block.split('\n').map((line) => {
        const colon = line.indexOf(': ')
        return [line.slice(0, colon), line.slice(colon + 2)] as const
      }))
      const data = fields.get('data')
      if (data === undefined) continue
      const id = fields.get('id')
      yield { event: fields.get('event') ?? 'message', data: JSON.parse(data), ...(id !== undefined && { id }) }
    }
  }
}
