import { ApiError, getJson, paths, send } from './lib/api.js'
import { notifyButton } from './lib/attention.js'
import { h } from './lib/dom.js'
import { icon } from './lib/icons.js'
import { shortcutOf, showShortcuts } from './lib/keys.js'
import { themeButton } from './lib/theme.js'
import { ChatView } from './views/chat.js'
import { CreateForm } from './views/create-form.js'
import { button, notice } from './views/notice.js'
import { ProgressView } from './views/progress.js'
import { signIn, SignInView } from './views/sign-in.js'
import { lastSpec } from './views/specs.js'
import { StartView } from './views/start.js'

const main = document.getElementById('main')
/** Conversations stay while the page does: by sandbox. */
const chats = new Map()
const ended = { message: 'This sandbox has ended.', hint: 'Create a new one; files on a volume are still there.' }
let status
let view

window.addEventListener('hashchange', route)
document.querySelector('.brand').addEventListener('click', (event) => {
  event.preventDefault()
  go('')
})
document.querySelector('.skip').addEventListener('click', (event) => {
  // The part after the # says where we are.
  event.preventDefault()
  main.focus()
})
document.addEventListener('keydown', (event) => { if (shortcutOf(event) === '?') showShortcuts() })
document.getElementById('settings').append(notifyButton(), themeButton(), h('button', {
  type: 'button', class: 'quiet', 'aria-label': 'Keyboard shortcuts', title: 'Keyboard shortcuts (?)', onclick: showShortcuts
}, icon('keyboard')))
document.addEventListener('signed-out', () => {
  if (status?.account) start({ message: 'You are no longer signed in.', hint: 'Sign in again to go on.' })
})
start()

/** Asks what this service is and who we are; everything else follows from the answer. */
async function start (problem) {
  try {
    problem = await useLink() ?? problem
    status = await getJson(paths.status)
  } catch (error) {
    return showProblem(error, button('Try again', () => start()))
  }
  showHeader()
  if (status.account) return route()
  show(new SignInView({ local: status.backend === 'local', problem, onSignedIn: () => start() }))
}

/** The start-up link carries a one-time code behind the `#`, where no server and no log sees it. */
async function useLink () {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1]
  if (code === undefined) return
  history.replaceState(null, '', location.pathname + location.search)
  try {
    await signIn(decodeURIComponent(code))
  } catch (error) {
    if (error.passing) throw error
    return { message: 'This link does not work any more.', hint: 'Use the newest one: each start of the service prints its own.' }
  }
}

/** `#sandbox=<id>` is a chat, so that a reload and the back button do what they say; anything else the first page. */
async function route () {
  if (location.hash.startsWith('#code=')) return start()
  if (!status?.account) return
  const id = /^#sandbox=(.+)$/.exec(location.hash)?.[1]
  if (id === undefined) return show(new StartView({ newSandbox, chooseSandbox: () => chooseSandbox(), openSandbox }))
  const chat = chats.get(id)
  if (chat) return show(chat)
  show({ element: h('p', { class: 'loading' }, h('span', { class: 'spinner' }), 'Opening the sandbox…') })
  try {
    const sandbox = await getJson(paths.sandbox(id))
    if (sandbox.status !== 'running') throw new ApiError(ended)
    if (location.hash === `#sandbox=${id}`) show(chatWith(sandbox))
  } catch (error) {
    const create = button('New sandbox', () => newSandbox(), { kind: 'primary', symbol: 'plus' })
    showProblem(error, create, button('All sandboxes', () => go('')))
  }
}

function showProblem (error, ...actions) {
  show({ element: h('div', { class: 'card narrow' }, notice(error, { dismissible: false, actions })) })
}

function chatWith (sandbox) {
  const chat = new ChatView(sandbox, { scripted: status.model === 'scripted', newSandbox })
  chats.set(sandbox.id, chat)
  return chat
}

function newSandbox (spec = lastSpec()) {
  show(new ProgressView({
    spec,
    onCreated: (sandbox) => {
      chatWith(sandbox)
      openSandbox(sandbox.id)
    },
    onCorrect: (problem) => chooseSandbox({ spec, problem }),
    onBack: () => go('')
  }))
}

function chooseSandbox ({ spec, problem } = {}) {
  show(new CreateForm({ spec, problem, onCreate: newSandbox, onBack: () => go('') }))
}

function openSandbox (id) {
  go(`#sandbox=${id}`)
}

function go (hash) {
  if (location.hash === hash) return route()
  history.pushState(null, '', location.pathname + location.search + hash)
  route()
}

function show (next) {
  if (view === next) return
  const before = view
  view?.hidden?.()
  // A chat stays as it is until its page goes; anything else ends with its place on the page.
  if (!(view instanceof ChatView)) view?.close?.()
  view = next
  main.replaceChildren(next.element)
  main.classList.toggle('full', next instanceof ChatView)
  next.shown?.()
  // Who comes from elsewhere on this page goes on at the top of what is new.
  if (before && document.activeElement === document.body) main.focus()
}

function showHeader () {
  const { backend, model, account } = status
  document.getElementById('badges').replaceChildren(
    backend === 'local' ? h('span', { class: 'badge', title: 'Sandboxes run on this machine, not on Modal' }, 'Local mode') : '',
    model === 'scripted' ? h('span', { class: 'badge warn', title: 'No model key is set: answers follow a script' }, icon('warning'), 'Scripted demo model, not Claude') : '')
  document.getElementById('account').replaceChildren(...account
    ? [h('span', { class: 'muted account-name', title: 'Your account' }, account), button('Sign out', signOut, { kind: 'small' })]
    : [])
}

async function signOut () {
  try {
    await send('DELETE', paths.session)
  } catch (error) {
    return main.prepend(notice(error))
  }
  for (const chat of chats.values()) chat.close()
  chats.clear()
  history.replaceState(null, '', location.pathname)
  await start()
}
