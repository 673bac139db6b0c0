import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'
import { button } from '../views/notice.js'
import { QuestionField } from './question-field.js'
import { RequestCard } from './request-card.js'

/**
 * Questions of Claude's. With the keyboard, a digit chooses an option of the question in focus, or else of the first
 * without an answer, and Enter answers.
 */
export class QuestionCard extends RequestCard {
  #fields
  #missing = h('p', { class: 'warn small', role: 'alert' })
  #focusBefore

  /** @param {{questions: {question, header, multiSelect, options}[]}} request the data of `permission.requested` */
  constructor (request, run) {
    const { id, questions } = request
    super(request, run, {
      label: words.permission.question,
      symbol: 'chat',
      title: h('strong', {}, words.permission.questions(questions.length)),
      alert: words.permission.questions(1),
      summary: questions[0].question,
      labels: {
        allow: words.permission.answered, deny: words.permission.notAnswered, lapse: words.permission.notAnswered
      }
    })
    this.#fields = questions.map((question, index) => new QuestionField(question, `${id}-${index}`))
    this.form.append(
      ...this.#fields.map(({ element }) => element),
      this.#missing,
      h('div', { class: 'actions' },
        h('button', { class: 'button primary small' }, words.permission.answer, h('kbd', {}, words.keys.names.Enter)),
        button(words.permission.skip, () => this.answer('deny'), { kind: 'small' })))
    this.form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.answer('allow')
    })
    this.element.addEventListener('keydown', (event) => this.#onKeydown(event))
  }

  /** Moves the focus here, where keys answer, unless the user is in the middle of something. */
  show () {
    super.show()
    const { activeElement } = document
    const isIdle = activeElement === document.body || (activeElement.matches('textarea') && activeElement.value === '')
    if (!isIdle || !window.matchMedia('(pointer: fine)').matches) return
    this.#focusBefore = activeElement
    this.element.focus({ preventScroll: true })
  }

  async answer (decision) {
    if (decision === 'deny') return await this.send({ decision })
    const missing = this.#fields.find((field) => !field.answered)
    this.#missing.textContent = missing ? words.permission.answerThis(missing.question) : ''
    if (missing) return missing.focus()
    const counts = await this.send({ decision, answers: this.#fields.map(({ answer }) => answer) })
    if (counts) this.#show(this.#fields.map(({ question, text }) => [question, text]))
  }

  resolve (answer) {
    const hadFocus = this.element.contains(document.activeElement)
    super.resolve(answer)
    if (hadFocus) this.#focusBefore?.focus()
  }

  /** @param {Record<string, string>} answers by question, as Claude was told */
  showAnswers (answers) {
    this.#show(this.#fields.map(({ question }) => [question, String(answers[question] ?? '')]))
  }

  #show (answers) {
    const given = answers.filter(([, text]) => text !== '')
    this.body.replaceChildren(given.length === 0
      ? ''
      : h('dl', { class: 'answers' }, given.map(([question, text]) => [h('dt', {}, question), h('dd', {}, text)])))
  }

  #onKeydown (event) {
    if (!this.open || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return
    if (event.target.matches('input[type="text"]')) return
    const onCard = event.target === this.element
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : undefined
    if (digit !== undefined) {
      event.preventDefault()
      this.#choose(digit)
    } else if (event.key === 'Enter' && onCard) {
      event.preventDefault()
      this.answer('allow')
    } else if (event.key.length === 1 && onCard) {
      // Who begins to write means the prompt, from where the focus was taken.
      this.#focusBefore?.focus()
    }
  }

  #choose (digit) {
    const current = this.#fields.find(({ element }) => element.contains(document.activeElement))
    const field = current ?? this.#fields.find((field) => !field.answered) ?? this.#fields[0]
    if (field.choose(digit)) this.#fields.find((field) => !field.answered)?.focus()
  }
}
