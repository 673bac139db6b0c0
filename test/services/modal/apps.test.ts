import { NotFoundError, type ModalClient } from 'modal'
import t from 'tap'
import { lookInApp } from '../../../services/modal/apps.js'

/** A client of a Modal that knows one app, under an id that changes. */
function openModal () {
  const modal = { appId: 'ap-1' as string | undefined, answers: [] as Array<() => void> }
  const fromName = async () => {
    await new Promise<void>((resolve) => { modal.answers.push(resolve) })
    if (modal.appId === undefined) throw new NotFoundError('no such app')
    return { appId: modal.appId }
  }
  const client = { apps: { fromName } } as unknown as ModalClient
  const begun: string[] = []
  const look = () => {
    begun.length = 0
    const found = lookInApp(client, 'acct-1', async (appId) => { begun.push(appId); return `in ${appId}` })
    return { found, begun: [...begun], answer: () => { modal.answers.shift()!() } }
  }
  return { modal, look, begun }
}

t.test('The first time, an app is asked for before it is looked into; then at the same time', async (t) => {
  const { look, begun } = openModal()
  const first = look()
  t.same(first.begun, [])
  first.answer()
  t.equal(await first.found, 'in ap-1')
  const second = look()
  t.same(second.begun, ['ap-1'])
  second.answer()
  t.equal(await second.found, 'in ap-1')
  t.same(begun, ['ap-1'], 'once')
})

t.test('An app that was made again is looked into, not the one before', async (t) => {
  const { modal, look } = openModal()
  const first = look()
  first.answer()
  await first.found
  modal.appId = 'ap-2'
  const second = look()
  t.same(second.begun, ['ap-1'])
  second.answer()
  t.equal(await second.found, 'in ap-2')
})

t.test('Nothing is found in an app that is not there any more, and it is not begun with again', async (t) => {
  const { modal, look } = openModal()
  const first = look()
  first.answer()
  await first.found
  modal.appId = undefined
  for (const expected of [['ap-1'], []]) {
    const { found, begun, answer } = look()
    t.same(begun, expected)
    answer()
    t.equal(await found, undefined)
  }
})
