# Renders a job's templates as BOSH does, with the accessors of its evaluation context: p, if_p, link, if_link, spec.
#
#   ruby render.rb REQUESTS.json
#
# REQUESTS.json is a list of {"job": dir, "into": dir, "spec": {...}, "properties": {...},
# "links": {name: {"instances": [...], "properties": {...}, "address": "..."}}}; properties are nested hashes as in a manifest.
# Prints a list with what BOSH would say of each request, null for those that were rendered.
#
#   ruby render.rb
#
# Takes a request a line instead, of which only "template" is rendered, and answers each with a line: {"said": what BOSH would say,
# "rendered": the text, "written": how Ruby writes each of the values in "write"}.

require 'erb'
require 'fileutils'
require 'json'
require 'ostruct'
require 'yaml'

class UnknownProperty < StandardError
  def initialize(names)
    super("Can't find property '#{names.join("', or '")}'")
  end
end

class UnknownLink < StandardError
  def initialize(name)
    super("Can't find link '#{name}'")
  end
end

# What BOSH would say instead of rendering.
class Refused < StandardError; end

def dig(properties, name)
  name.split('.').reduce(properties) { |at, key| at.is_a?(Hash) ? at[key] : nil }
end

# Looks properties up: a job's own, or those that a link gives.
module Properties
  def p(names, *fallback)
    names = Array(names)
    names.each do |name|
      value = dig(@properties, name)
      return value unless value.nil?
    end
    raise UnknownProperty, names if fallback.empty?

    fallback.first
  end

  def if_p(*names)
    values = names.map { |name| dig(@properties, name) }
    return Otherwise.new(self, true) if values.any?(&:nil?)

    yield(*values)
    Otherwise.new(self, false)
  end
end

# What follows if_p and if_link: else, else_if_p.
class Otherwise
  def initialize(context, active)
    @context = context
    @active = active
  end

  def else
    yield if @active
  end

  def else_if_p(*names, &block)
    @active ? @context.if_p(*names, &block) : self
  end
end

class Link
  include Properties
  attr_reader :instances, :address

  def initialize(data)
    @instances = data.fetch('instances').map { |each| OpenStruct.new(each) }
    @properties = data.fetch('properties', {})
    @address = data['address']
  end
end

class Context
  include Properties
  attr_reader :spec

  @@templates = {}

  def initialize(spec, properties, links)
    @spec = OpenStruct.new(spec)
    @properties = properties
    @links = links
  end

  def link(name)
    Link.new(@links.fetch(name) { raise UnknownLink, name })
  end

  def if_link(name)
    return Otherwise.new(self, true) unless @links.key?(name)

    yield link(name)
    Otherwise.new(self, false)
  end

  # As ERB#result would with this object's binding, but Ruby parses each template once.
  def render(template)
    @@templates[template] ||= "template_#{@@templates.size}".tap do |name|
      ERB.new(File.read(template), trim_mode: '-').def_method(Context, name, template)
    end
    send(@@templates[template])
  rescue UnknownProperty, UnknownLink, RuntimeError => e
    raise Refused, e.message
  end
end

def nested(name, value)
  name.split('.').reverse.reduce(value) { |inner, key| { key => inner } }
end

def merge(one, other)
  one.merge(other) { |_, a, b| a.is_a?(Hash) && b.is_a?(Hash) ? merge(a, b) : b }
end

# What the director gives a job: its own properties only, defaults filled in.
def effective(job_spec, given)
  job_spec.fetch('properties', {}).reduce({}) do |all, (name, definition)|
    value = dig(given, name)
    value = definition['default'] if value.nil?
    value.nil? ? all : merge(all, nested(name, value))
  end
end

def provided(job_spec, link_name, given)
  wanted = job_spec.fetch('provides', []).find { |each| each['name'] == link_name }.fetch('properties', [])
  all = effective(job_spec, given)
  wanted.reduce({}) { |found, name| dig(all, name).nil? ? found : merge(found, nested(name, dig(all, name))) }
end

def job_spec(directory)
  @job_specs ||= Hash.new { |known, each| known[each] = YAML.safe_load(File.read(File.join(each, 'spec'))) }
  @job_specs[directory]
end

def link_data(link, name, given)
  return link unless link.key?('provider')

  link.merge('properties' => provided(job_spec(link['provider']), name, given))
end

def context(request)
  job, given = request.values_at('job', 'properties')
  links = request.fetch('links', {}).to_h { |name, link| [name, link_data(link, name, given)] }
  Context.new(request.fetch('spec'), effective(job_spec(job), given), links)
end

# Renders one job; returns what is wrong, or nil.
def render_job(request)
  job, into = request.values_at('job', 'into')
  context = context(request)
  job_spec(job).fetch('templates').each do |source, target|
    path = File.join(into, target)
    FileUtils.mkdir_p(File.dirname(path))
    begin
      File.write(path, context.render(File.join(job, 'templates', source)))
    rescue Refused => e
      return "#{job_spec(job)['name']}: #{source}: #{e.message}"
    end
    File.chmod(target.start_with?('bin/') ? 0o755 : 0o640, path)
  end
  FileUtils.cp(File.join(job, 'monit'), into)
  nil
end

def answer(request)
  { 'rendered' => context(request).render(File.join(request['job'], 'templates', request['template'])) }
rescue Refused => e
  { 'said' => e.message, 'written' => request['write'].map { |each| each.nil? ? 'not given' : each.inspect } }
end

def answer_lines
  Encoding.default_external = Encoding::UTF_8
  $stdout.sync = true
  $stdin.each_line { |line| puts JSON.generate(answer(JSON.parse(line, allow_nan: true))) }
end

if $PROGRAM_NAME == __FILE__
  ARGV.empty? ? answer_lines : puts(JSON.generate(JSON.parse(File.read(ARGV.fetch(0))).map { |request| render_job(request) }))
end
