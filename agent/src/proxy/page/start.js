'use strict';
// Shows the space's status as it comes, and turns into the app once that is ready. Everything that an app, a step or a
// document says is put in as text.
(function () {
  const el = (id) => document.getElementById(id);
  const { base, app } = document.body.dataset;
  const KEPT = 300;
  const opened = Date.now();
  const asked = [];
  let back = 0, busy = false;
  let status = null, received = 0, lastSeq = -1, failures = 0, lostSince = 0, leaving = false;

  const show = (id, yes) => { el(id).hidden = !yes; };
  const say = (id, text) => { if (el(id).textContent !== text) el(id).textContent = text; };
  const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  function spoken(ms) {
    if (ms < 9950) return (ms / 1000).toFixed(1) + ' s';
    const s = Math.round(ms / 1000);
    if (s < 120) return s + ' s';
    if (s < 7200) return Math.floor(s / 60) + ' min ' + (s % 60) + ' s';
    return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
  }

  const PHASES = { booting: 'Starting', running: 'Running', notice: 'About to stop', stopping: 'Stopping', stopped: 'Stopped', failed: 'Failed' };
  const MODES = { recovery: 'Recovery mode', parked: 'Parked' };
  const MARKS = { done: '\u2713', ready: '\u2713', skipped: '\u2013', failed: '!' };
  const STATES = { waiting: 'waiting', asleep: 'starts at its first request', starting: 'starting', ready: 'ready', restarting: 'starting again', failed: 'failed', stopped: 'stopped', dropped: 'dropped' };

  // Neither booting nor as usual: what the page then shows is written in it.
  const mode = () => (status && MODES[status.mode]) ? status.mode : 'normal';

  function title() {
    if (mode() !== 'normal') return mode() === 'parked' ? 'This space is parked' : 'Recovery mode';
    const own = status.apps.find((one) => one.name === app) || status.apps[0];
    const label = own ? own.label : status.space;
    switch (status.phase) {
      case 'booting': return 'Getting ' + label + ' ready';
      case 'notice': return 'This space stops soon';
      case 'stopping': return 'This space is stopping';
      case 'stopped': return 'This space has stopped';
      case 'failed': return 'This space could not start';
      default:
        if (!own || own.state === 'ready') return label + ' is ready';
        if (own.state === 'asleep') return label + ' starts at its first request';
        if (own.state === 'failed') return label + ' does not run';
        return own.restarts > 0 ? label + ' is starting again' : label + ' is starting';
    }
  }

  // Rows stay and only change, so that nothing flickers and what turns keeps turning.
  const rows = new Map();
  function row(key, state, name, kind, time, why) {
    if (!rows.has(key)) {
      const item = document.createElement('li');
      const parts = ['mark', 'name', 'time', 'why'].map((part) => {
        const node = document.createElement('span');
        node.className = part;
        item.append(node);
        return node;
      });
      parts[1].append('', document.createElement('small'));
      rows.set(key, { item, parts });
    }
    const { item, parts: [mark, label, clock, reason] } = rows.get(key);
    const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
    item.dataset.state = state;
    mark.title = state;
    put(mark, MARKS[state] || '');
    put(label.firstChild, name);
    put(label.lastChild, kind);
    put(clock, time);
    put(reason, why || '');
    reason.hidden = !why;
    return item;
  }

  function stepTime(step) {
    if (step.state === 'running') return spoken((step.took_ms || 0) + Date.now() - received);
    if (step.state === 'done' || step.state === 'failed') return spoken(step.took_ms || 0);
    return step.state === 'skipped' ? 'nothing to do' : step.state;
  }

  function list() {
    const items = status.steps.map((step) => row('step ' + step.name, step.state, step.name, step.kind, stepTime(step), step.why));
    for (const one of status.apps) items.push(row('app ' + one.name, one.state, one.label, 'app', STATES[one.state] || one.state, one.why));
    const shown = el('list').children;
    if (items.length !== shown.length || items.some((item, at) => item !== shown[at])) el('list').replaceChildren(...items);
    show('work', items.length > 0);
  }

  function progress() {
    const over = status.steps.filter((step) => step.state !== 'waiting' && step.state !== 'running').length;
    const apps = status.apps.filter((one) => one.state !== 'asleep');
    const ready = apps.filter((one) => one.state === 'ready').length;
    const all = status.steps.length + apps.length;
    show('bar', status.phase === 'booting' && all > 0);
    el('progress').style.width = (all ? 100 * (over + ready) / all : 0) + '%';
  }

  function failure() {
    const own = status.apps.find((one) => one.name === app);
    const failed = mode() === 'normal' && (status.phase === 'failed' || Boolean(own && own.state === 'failed'));
    show('failed', failed);
    if (!failed) return;
    const step = status.steps.find((one) => one.state === 'failed');
    say('cause', upper(status.reason || (own && own.why) || (step && step.why) || status.sentence));
    say('remedy', step ? 'Its whole output: space-agent logs ' + step.name : own ? 'Its whole output: space-agent logs ' + own.name : '');
  }

  function notice() {
    show('notice', status.phase === 'notice');
    if (status.phase !== 'notice') return;
    const end = status.activity.stops_at ? Date.parse(status.activity.stops_at) : 0;
    const left = end ? Math.max(0, end - Date.now()) : 0;
    say('notice-text', end ? 'It stops in ' + spoken(left) + ', unless you go on.' : 'It stops unless you go on.');
  }

  // On the space's own page, which stays: the way in.
  function way() {
    const own = status.apps.find((one) => (one.state === 'ready' || one.state === 'asleep') && /^\/(?!\/)/.test(one.base_path));
    show('enter', (!app || mode() === 'recovery') && Boolean(own));
    if (!own) return;
    el('door').href = own.base_path;
    say('door', 'Open ' + own.label + (mode() === 'recovery' ? ' with a clean home' : ''));
  }

  function notes(id, texts) {
    el(id).replaceChildren(...texts.map((text) => {
      const line = document.createElement('p');
      line.className = 'said';
      line.textContent = text;
      return line;
    }));
    show(id, texts.length > 0);
  }

  function warnings() {
    notes('warnings', status.warnings);
    // What went wrong lately: a kernel that was ended for memory, with its notebook; an app that was started again.
    const last = (status.events || []).filter((event) => event.failure).slice(-5).reverse();
    notes('events', last.map((event) => new Date(event.at).toLocaleTimeString() + '  ' + upper(event.text)));
  }

  function draw() {
    if (!status) return;
    const phase = MODES[status.mode] || PHASES[status.phase] || status.phase;
    document.body.dataset.mode = mode();
    document.title = status.space + ' \u2013 ' + phase;
    say('phase', phase);
    for (const id of ['reason', 'parked']) say(id, upper(status.reason || 'somebody asked for it'));
    say('title', title());
    say('sentence', upper(status.sentence));
    show('sentence', el('title').textContent !== upper(status.sentence));
    list(); progress(); failure(); notice(); way(); warnings();
    say('footer', 'space-agent ' + status.agent.version);
  }

  function line(entry) {
    if (entry.seq <= lastSeq) return;
    lastSeq = entry.seq;
    const console = entry.of === 'rescue';
    const pre = el(console ? 'said' : 'lines');
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
    const node = document.createElement('div');
    const of = document.createElement('b');
    if (!console) of.textContent = entry.of + '  ';
    // What was asked, and how it ended, beside what was said.
    const frame = console && (entry.text.startsWith('$ ') || /^\(exit code \d+\)$/.test(entry.text));
    if (frame) of.textContent = entry.text;
    node.append(of, frame ? '' : entry.text);
    pre.append(node);
    while (pre.childElementCount > KEPT) pre.firstElementChild.remove();
    show(console ? 'said' : 'log', true);
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }

  // The address stays: the app answers where this page stood.
  function enter() {
    // Whoever repairs something here goes on by the button.
    if (!app || leaving || busy) return;
    leaving = true;
    say('title', 'Opening');
    setTimeout(() => location.reload(), 150);
  }

  function connect() {
    const source = new EventSource(base + '_space/events?app=' + encodeURIComponent(app));
    let open = false;
    source.onopen = () => {
      open = true; failures = 0; lostSince = 0; lastSeq = -1;
      el('lines').replaceChildren();
      el('said').replaceChildren();
      show('lost', false);
    };
    source.addEventListener('status', (event) => { status = JSON.parse(event.data); received = Date.now(); draw(); });
    source.addEventListener('line', (event) => line(JSON.parse(event.data)));
    // Not `open`: so the browser calls the moment at which the stream itself opens.
    source.addEventListener('ready', enter);
    source.onerror = () => {
      source.close();
      failures += 1;
      lostSince = lostSince || Date.now();
      if (!open) elsewhere();
      setTimeout(connect, Math.min(5000, 400 * failures));
    };
  }

  // The stream is refused but the space answers: the session has ended, so this page shall ask for a new one.
  function elsewhere() {
    fetch(base + '_space/livez', { cache: 'no-store' }).then((answer) => {
      if (answer.ok && Date.now() - opened > 5000 && !leaving) { leaving = true; location.reload(); }
    }).catch(() => {});
  }

  el('keep').addEventListener('click', () => {
    const button = el('keep');
    button.disabled = true;
    fetch(base + '_space/keep', { method: 'POST', body: new URLSearchParams({ minutes: '60' }) })
      .then((answer) => answer.ok ? null : answer.text().then((why) => say('notice-text', upper(why.trim()))))
      .catch(() => {})
      .then(() => { button.disabled = false; });
  });

  // Resolves to the reason of a refusal, or to nothing.
  function post(path, body) {
    return fetch(base + '_space/' + path, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
    }).then((answer) => answer.ok ? '' : answer.text()).catch(() => 'the space cannot be reached just now');
  }

  el('start').addEventListener('submit', (event) => {
    event.preventDefault();
    el('go').disabled = true;
    say('refusal', '');
    post('start', {}).then((why) => { say('refusal', why && upper(why.trim())); el('go').disabled = false; busy = false; });
  });

  el('rescue').addEventListener('submit', (event) => {
    event.preventDefault();
    const command = el('command').value;
    busy = true;
    asked.push(command);
    back = asked.length;
    el('command').value = '';
    post('rescue', { command }).then((why) => {
      if (!why) return;
      el('said').append(upper(why.trim()) + '\n');
      show('said', true);
    });
  });

  el('command').addEventListener('input', () => { busy = true; });
  el('command').addEventListener('keydown', (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !asked.length) return;
    event.preventDefault();
    back = Math.min(asked.length, Math.max(0, back + step));
    el('command').value = asked[back] || '';
  });

  // Nobody answers: a stop that was announced is no failure.
  function gone() {
    const stopped = status && (status.phase === 'stopping' || status.phase === 'stopped');
    show('lost', !stopped); show('bar', false); show('notice', false); show('work', !stopped && rows.size > 0);
    say('phase', stopped ? 'Stopped' : 'Not reachable');
    say('title', stopped ? 'This space has stopped' : 'No connection');
    document.body.dataset.mode = 'normal';
    show('enter', false); show('sentence', true);
    if (stopped) say('sentence', 'Once it is started again, this page comes back by itself.');
  }

  setInterval(() => {
    if (!lostSince) draw();
    else if (Date.now() - lostSince > 3000) gone();
  }, 1000);
  connect();
})();
