# Renders a job's templates as BOSH does, with the accessors of its evaluation context: p, if_p, link, if_link, spec.
#
#   ruby render.rb REQUESTS.json
#
# REQUESTS.json is a list of {"job": dir, "into": dir, "spec": {...}, "properties": {...},
# "links": {name: {"instances": [...], "properties": {...}, "address": "..."}}}; properties are nested hashes as in a manifest.
# Prints a list with what BOSH would say of each request, null for those that were rendered.

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

  def render(template)
    ERB.new(File.read(template), trim_mode: '-').tap { |erb| erb.filename = template }.result(binding)
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

def link_data(link, name, given)
  return link unless link.key?('provider')

  provider = YAML.safe_load(File.read(File.join(link['provider'], 'spec')))
  link.merge('properties' => provided(provider, name, given))
end

# Renders one job; returns what is wrong, or nil.
def render_job(request)
  job, into, given = request.values_at('job', 'into', 'properties')
  job_spec = YAML.safe_load(File.read(File.join(job, 'spec')))
  links = request.fetch('links', {}).to_h { |name, link| [name, link_data(link, name, given)] }
  context = Context.new(request.fetch('spec'), effective(job_spec, given), links)
  job_spec.fetch('templates').each do |source, target|
    path = File.join(into, target)
    FileUtils.mkdir_p(File.dirname(path))
    begin
      File.write(path, context.render(File.join(job, 'templates', source)))
    rescue UnknownProperty, UnknownLink, RuntimeError => e
      return "#{job_spec['name']}: #{source}: #{e.message}"
    end
    File.chmod(target.start_with?('bin/') ? 0o755 : 0o640, path)
  end
  FileUtils.cp(File.join(job, 'monit'), into)
  nil
end

puts JSON.generate(JSON.parse(File.read(ARGV.fetch(0))).map { |request| render_job(request) }) if $PROGRAM_NAME == __FILE__
